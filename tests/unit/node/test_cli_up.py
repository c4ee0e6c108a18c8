"""``cfab up`` up to the moment it becomes the node."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from bootstrap.identity import key_of_seed, load_node_seed, peer_id_of
from bootstrap.wallet import create_wallet
from market.errors import Unavailable
from tests.fakes.cli_runner import cfab
from tests.fakes.scripted_control import ScriptedControl, served

up = importlib.import_module("node.cli.up")

CHAIN = """
[chain]
rpc = "http://127.0.0.1:8545"
chain_id = 31337
escrow = "0x00000000000000000000000000000000000000e5"
token = "0x00000000000000000000000000000000000000c0"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the node program was started with."""
    calls: list[Any] = []
    module = types.ModuleType("node.app")
    module.run_node = lambda config, password: calls.append((config, password))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "node.app", module)
    return calls


def test_introducer_needs_no_chain_and_no_password(home: Path, started: list[Any]) -> None:
    assert cfab(home, "up", "--introducer", "--listen", "/ip4/0.0.0.0/tcp/4009", "--name", "front").code == 0
    config, password = started[0]
    assert (config.introducer, config.chain, password) == (True, None, "")
    assert (config.listen, config.name) == (("/ip4/0.0.0.0/tcp/4009",), "front")


def test_trader_gets_its_password_from_a_file(home: Path, started: list[Any], tmp_path: Path) -> None:
    (home / "config.toml").write_text(CHAIN)
    create_wallet(home / "wallet.json", "pw", scrypt_n=2)
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("pw\n")
    assert cfab(home, "up", "--provide", "--price", "0.25/h", "--password-file", str(password)).code == 0
    config, given = started[0]
    assert given == "pw"
    assert config.provide
    assert config.provider.price == 69_444


def test_a_watchtower_needs_a_chain_and_a_wallet_to_pay_gas_from(
    home: Path, started: list[Any], tmp_path: Path
) -> None:
    refused = cfab(home, "up", "--watch")
    assert refused.code == 2
    assert "a watchtower needs a [chain]" in refused.err
    (home / "config.toml").write_text(CHAIN)
    create_wallet(home / "wallet.json", "pw", scrypt_n=2)
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("pw\n")
    open_to_all = cfab(home, "up", "--watch", "--password-file", str(password))
    assert open_to_all.code == 0
    (told,) = [line for line in (open_to_all.out.decode() + open_to_all.err).splitlines() if "serves anybody" in line]
    assert "gas" in told
    ((config, _),) = started
    assert (config.watch.serve, config.provide) == (True, False)


def test_a_watchtower_with_clients_is_not_told_that_it_serves_anybody(
    home: Path, started: list[Any], tmp_path: Path
) -> None:
    client = peer_id_of(key_of_seed(b"\x02" * 32))
    (home / "config.toml").write_text(f'{CHAIN}\n[watch]\nclients = ["{client}"]\n')
    create_wallet(home / "wallet.json", "pw", scrypt_n=2)
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("pw\n")
    ended = cfab(home, "up", "--watch", "--password-file", str(password))
    assert (ended.code, len(started)) == (0, 1)
    assert "serves anybody" not in ended.out.decode() + ended.err


def test_missing_wallet_is_told_before_a_password_is_asked(home: Path, started: list[Any]) -> None:
    (home / "config.toml").write_text(CHAIN)
    ended = cfab(home, "up")
    assert ended.code == 4
    assert "cfab wallet create" in ended.err
    assert started == []


def test_bad_setting_names_file_and_line(home: Path, started: list[Any]) -> None:
    (home / "config.toml").write_text('[node]\nlisten = ["/ip4/127.0.0.1/tcp/99999"]\n')
    ended = cfab(home, "up")
    assert ended.code == 2
    assert "config.toml:2" in ended.err
    assert started == []


@pytest.mark.parametrize("words", [("--join", "/ip4/127.0.0.1/tcp/1"), ("--listen", "here"), ("--price", "cheap")])
def test_bad_flag_names_the_flag(home: Path, started: list[Any], words: tuple[str, str]) -> None:
    ended = cfab(home, "up", *words)
    assert words[0] in ended.err
    assert ended.code == 2
    assert started == []


def test_start_says_where_the_node_is_and_what_keeps_others_from_it(home: Path, started: list[Any]) -> None:
    ended = cfab(home, "up", "--listen", "/ip4/127.0.0.1/tcp/4009", "--introducer")
    peer_id = peer_id_of(key_of_seed(load_node_seed(home / "node.key")))
    assert f"address    /ip4/127.0.0.1/tcp/4009/p2p/{peer_id}" in ended.err
    assert "! listen: only on this machine itself" in ended.err
    assert "introducers" not in ended.err
    assert "introducers: none" in cfab(home, "up").err
    assert cfab(home, "-q", "up").err == ""


def test_second_node_on_one_home_is_refused_before_any_port_is(home: Path, started: list[Any]) -> None:
    with served(ScriptedControl(), home / "api.sock"):
        ended = cfab(home, "up")
    assert ended.code == 1
    assert "already running on this home" in ended.err
    assert started == []


@pytest.mark.parametrize("content", [None, ""])
def test_password_file_that_holds_none_has_a_way_out(home: Path, started: list[Any], content: str | None) -> None:
    (home / "config.toml").write_text(CHAIN)
    create_wallet(home / "wallet.json", "pw", scrypt_n=2)
    if content is not None:
        (home / "pw").touch(mode=0o600)
    ended = cfab(home, "up", "--password-file", str(home / "pw"))
    assert ended.code != 0
    assert "\n  fix: " in ended.err
    assert started == []


def test_provider_without_a_chain_is_refused(home: Path, started: list[Any]) -> None:
    ended = cfab(home, "up", "--provide")
    assert ended.code == 2
    assert "[chain]" in ended.err


def test_down_waits_for_the_process_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as node:
        monkeypatch.setattr(up, "_STOP_S", 0.05)
        with pytest.raises(Unavailable) as error:
            up._wait_end(node.pid)
        assert error.value.code == "timeout"
        monkeypatch.setattr(up, "_STOP_S", 30.0)
        assert node.stdin is not None
        node.stdin.close()
        up._wait_end(node.pid)
        assert node.wait(0) is not None


def test_failure_of_the_node_is_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_node(config: object, password: str) -> None:
        raise Unavailable("the port is in use", code="port_in_use", fix="choose another listen address")

    module = types.ModuleType("node.app")
    module.run_node = run_node  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "node.app", module)
    ended = cfab(home, "-q", "up")
    assert (ended.code, ended.err) == (1, "error: the port is in use\n  fix: choose another listen address\n")
