"""The configuration: every value typed and bounded, every mistake with its place and a way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from market.errors import InvalidRequest
from node.config import NodeConfig, load_config

CHAIN = """
[chain]
rpc = "http://127.0.0.1:8545"
chain_id = 31337
escrow = "0x00000000000000000000000000000000000000E5"
token = "0x00000000000000000000000000000000000000c0"
"""
PEER = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq"


def load(home: Path, text: str = "", **kwargs: Any) -> NodeConfig:
    if text:
        (home / "config.toml").write_text(text)
    return load_config(home, environ=kwargs.pop("environ", {}), **kwargs)


def refused(home: Path, text: str = "", **kwargs: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        load(home, text, **kwargs)
    return error.value


def test_nothing_given_is_a_private_requester(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.listen == ("/ip4/127.0.0.1/tcp/4001",)
    assert (config.provide, config.introducer, config.chain) == (False, False, None)
    assert config.api_socket == tmp_path / "api.sock"
    assert config.sources == {}


def test_every_key_is_read(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        f"""
[node]
name = "alice"
listen = ["/ip4/0.0.0.0/tcp/4001", "/ip6/::1/tcp/0"]
introducers = ["/dns4/boot.example.org/tcp/4001/p2p/{PEER}"]
introducer = true
provide = true
api_socket = "/run/a.sock"
{CHAIN}
confirmations = 12
[provider]
price = "0.30/h"
gpu = "simulated:RTX4090:24GB"
slots = 2
cpu = 0.5
memory = "4GiB"
disk = "10GB"
region = "eu-north"
machine = "m1"
tick = "1s"
grace = "1500ms"
engine = "unix:///x.sock"
[requester]
close_lanes = false
""",
    )
    assert config.chain is not None
    assert (config.chain.escrow[-1], config.chain.token[-1], config.chain.confirmations) == (0xE5, 0xC0, 12)
    provider = config.provider
    assert provider.price == 83_333
    assert (provider.gpu.kind, provider.gpu.model, provider.gpu.vram_mib) == ("simulated", "RTX4090", 24_576)
    assert (provider.slots, provider.cpu_milli, provider.memory_mib, provider.disk_mib) == (2, 500, 4096, 9537)
    assert (provider.tick_ms, provider.grace_ms) == (1000, 1500)
    assert not config.requester.close_lanes
    assert str(config.api_socket) == "/run/a.sock"


def test_flag_beats_variable_beats_file(tmp_path: Path) -> None:
    text = '[provider]\nprice = "0.10/h"\nregion = "eu"\nmachine = "file"\n'
    environ = {"CFAB_PROVIDER_PRICE": "0.20/h", "CFAB_PROVIDER_REGION": "us", "CFAB_HOME": "/ignored", "OTHER": "1"}
    config = load(tmp_path, text, environ=environ, flags={"provider.price": "0.36/h"})
    assert (config.provider.price, config.provider.region, config.provider.machine) == (100_000, "us", "file")
    assert config.sources == {
        "provider.price": "flag",
        "provider.region": "CFAB_PROVIDER_REGION",
        "provider.machine": "file",
    }


def test_variable_may_hold_a_list_a_number_and_a_switch(tmp_path: Path) -> None:
    environ = {
        "CFAB_NODE_LISTEN": "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/tcp/2",
        "CFAB_NODE_INTRODUCER": "1",
        "CFAB_PROVIDER_SLOTS": "3",
    }
    config = load(tmp_path, environ=environ)
    assert (len(config.listen), config.introducer, config.provider.slots) == (2, True, 3)


@pytest.mark.parametrize(
    ("text", "line", "code", "fix"),
    [
        ("[node]\n\nlisten_on = []\n", 3, "unknown_key", "did you mean 'listen'?"),
        ("[nod]\nname = 'a'\n", 1, "unknown_key", "did you mean 'node'?"),
        ("[provider]\nzzz = 1\n", 2, "unknown_key", "known here: price"),
        ("[node]\nprovide = 'yes'\n", 2, "bad_config", ""),
        ("[node]\nlisten = '/ip4/1.2.3.4/udp/5'\n", 2, "bad_config", "/tcp/4001"),
        (f"[node]\nlisten = ['/ip4/1.2.3.4/tcp/5/p2p/{PEER}']\n", 2, "bad_config", ""),
        ("[node]\nintroducers = ['/ip4/1.2.3.4/tcp/5']\n", 2, "bad_config", "p2p"),
        ("[provider]\nprice = 0.3\n", 2, "bad_config", ""),
        ("[provider]\nprice = '0.3'\n", 2, "price_unit", "0.35/h"),
        ("[provider]\nslots = 0\n", 2, "bad_config", ""),
        ("[provider]\nslots = true\n", 2, "bad_config", ""),
        ("[provider]\nmemory = '4'\n", 2, "bad_size", "unit"),
        ("[provider]\ntick = '10'\n", 2, "bad_duration", "unit"),
        ("[provider]\ntick = '1ms'\n", 2, "bad_config", ""),
        ("[provider]\ngpu = 'RTX4090'\n", 2, "bad_config", "simulated:"),
        ("[provider]\ncpu = 0\n", 2, "bad_cpu", ""),
        (CHAIN.replace("http://", "ftp://"), 3, "bad_config", "8545"),
        (CHAIN.replace("http://127.0.0.1:8545", "http://host:99999"), 3, "bad_config", "8545"),
        (CHAIN.replace("E5", "E"), 5, "bad_config", "40 hex"),
        (CHAIN.replace("31337", "0"), 4, "bad_config", ""),
        (CHAIN.replace("chain_id = 31337", ""), 2, "missing_key", "chain_id"),
    ],
)
def test_mistake_names_its_line_and_a_way_out(tmp_path: Path, text: str, line: int, code: str, fix: str) -> None:
    error = refused(tmp_path, text)
    assert error.where == f"{tmp_path}/config.toml:{line}"
    assert error.code == code
    assert fix in error.fix


def test_what_is_not_toml_is_one_sentence(tmp_path: Path) -> None:
    for content in (b"[node", b"name = unquoted", b"\xff\xfe"):
        (tmp_path / "config.toml").write_bytes(content)
        error = refused(tmp_path)
        assert error.code == "bad_config"
        assert error.where.endswith("config.toml")


def test_mistake_in_a_variable_or_flag_names_it(tmp_path: Path) -> None:
    assert refused(tmp_path, environ={"CFAB_PROVIDER_TICK": "x"}).where == "$CFAB_PROVIDER_TICK"
    assert refused(tmp_path, flags={"provider.price": "x"}).where == "--price"


def test_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    assert refused(tmp_path, file=tmp_path / "other.toml").code == "not_found"


def test_provider_needs_a_chain(tmp_path: Path) -> None:
    assert "[chain]" in refused(tmp_path, "[node]\nprovide = true\n").fix
    assert load(tmp_path, "[node]\nprovide = true\n" + CHAIN).provide
