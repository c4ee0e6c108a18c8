"""``cfab doctor`` without a node: each check with a world that is right, and with one that is not."""

from __future__ import annotations

import hashlib
import json
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from bootstrap.wallet import create_wallet
from ledger.artifact import load_artifact
from ledger.ports import NewEntry
from ledger.sqlite_journal import open_journal
from node.cli import machine_checks, market_checks
from node.config import ChainConfig, NodeConfig, ProviderConfig, load_config
from node.config_values import GpuChoice
from node.home import JOURNAL_FILE
from runtime.ports import Gpu
from tests.fakes.cli_runner import cfab

ESCROW = b"\x0e" * 20


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def our_code(monkeypatch: pytest.MonkeyPatch) -> str:
    """Code that passes for the escrow: what the artifact says it is runs only on a chain."""
    code = b"\x60\x01"
    artifact = structs.replace(load_artifact("Escrow"), runtime_sha256=hashlib.sha256(code).hexdigest(), immutables=())
    monkeypatch.setattr("ledger.artifact.load_artifact", lambda name: artifact)
    return "0x" + code.hex()


async def test_the_journal_is_followed_to_its_end(home: Path) -> None:
    assert machine_checks.check_journal(home) == []
    path = home / JOURNAL_FILE
    async with open_journal(path, ballast_bytes=4096) as journal:
        await journal.append([NewEntry(stream="a", kind="k", at_ms=1, body=b"fact")])
        [running] = machine_checks.check_journal(home)
    assert (running["ok"], running["warning"]) == (True, False)
    assert "1 entries" in running["detail"]

    path.with_name(f"{JOURNAL_FILE}.ballast").unlink()
    [warned] = machine_checks.check_journal(home)
    assert (warned["ok"], warned["warning"]) == (True, True)

    with sqlite3.connect(path) as tampered:
        tampered.execute("update entry set body = x'00'")
    tampered.close()
    [failed] = machine_checks.check_journal(home)
    assert not failed["ok"]
    assert "backup" in failed["fix"]


async def test_the_backup_that_the_guide_shows_is_whole_and_can_be_put_back(home: Path, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    shown = text.split("## Your journal, and backups", 1)[1].split("```", 2)[1].strip().splitlines()
    away, back = [line for line in shown if line.startswith("cp ")]
    (tmp_path / "backup").mkdir()

    def run(line: str) -> None:
        subprocess.run(["bash", "-c", line], env={"HOME": str(tmp_path), "CFAB_HOME": str(home)}, check=True)

    def forget(but: str = "-") -> None:
        for file in home.glob(f"{JOURNAL_FILE}*"):
            if not file.name.endswith(but):
                file.unlink()

    async with open_journal(home / JOURNAL_FILE, ballast_bytes=4096) as journal:
        await journal.append([NewEntry(stream="a", kind="k", at_ms=1, body=b"fact")])
    run(away)
    forget()
    run(back)
    [whole] = machine_checks.check_journal(home)
    assert (whole["ok"], whole["warning"]) == (True, False)
    async with open_journal(home / JOURNAL_FILE, ballast_bytes=4096) as journal:
        await journal.append([NewEntry(stream="a", kind="k", at_ms=1, body=b"later")])
    forget(but=".end")
    run(back)
    [older] = machine_checks.check_journal(home)
    assert not older["ok"]
    assert f"{JOURNAL_FILE}.end" in older["fix"]


@contextmanager
def a_chain(answers: dict[str, Any]) -> Iterator[ChainConfig]:
    """A JSON-RPC endpoint with canned answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": answers[asked["method"]]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield ChainConfig(
            rpc=(f"http://127.0.0.1:{server.server_port}",), chain_id=31337, escrow=ESCROW, token=b"\x0c" * 20
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def an_engine(path: Path, answer: bytes) -> Iterator[None]:
    """Something that answers one request on a unix socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def test_chain_is_right(home: Path, our_code: str) -> None:
    with a_chain({"eth_chainId": "0x7a69", "eth_getCode": our_code}) as chain:
        assert market_checks.check_chain(chain)["ok"]


@pytest.mark.parametrize(("provide", "ok"), [(True, False), (False, True)])
def test_gas_matters_most_to_who_must_redeem(home: Path, our_code: str, provide: bool, ok: bool) -> None:
    create_wallet(home / "wallet.json", "pw", scrypt_n=2)
    answers = {"eth_chainId": "0x7a69", "eth_getCode": our_code, "eth_getBalance": "0x0"}
    with a_chain(answers) as chain:
        config = NodeConfig(home=home, name="n", api_socket=home / "s", chain=chain, provide=provide)
        gas = market_checks.check_money(home, config)[1]
        assert (gas["name"], gas["ok"], gas["warning"]) == ("gas", ok, ok)
        answers["eth_getBalance"] = hex(25 * 10**16)
        assert market_checks.check_money(home, config)[1]["detail"] == "0.250000 of the chain's coin (ether)"


def test_nobody_to_meet_and_nowhere_to_be_met_is_a_warning(home: Path) -> None:
    alone = NodeConfig(home=home, name="n", api_socket=home / "s", provide=True)
    assert [check["name"] for check in market_checks.check_reach(alone)] == ["introducers", "money", "listen"]
    assert all(check["warning"] and check["fix"] for check in market_checks.check_reach(alone))
    chain = ChainConfig(rpc=("http://127.0.0.1:1",), chain_id=1, escrow=ESCROW, token=ESCROW)
    met = structs.replace(alone, chain=chain, introducers=("x",), listen=("/ip4/127.0.0.1/tcp/1", "/ip4/0.0.0.0/tcp/1"))
    assert market_checks.check_reach(met) == []
    inside = structs.replace(met, listen=("/ip6/::1/tcp/1",))
    assert "nobody can buy" in market_checks.check_reach(inside)[0]["detail"]
    assert market_checks.check_reach(structs.replace(inside, provide=False)) == []


def test_a_provider_that_does_not_say_where_it_is_is_warned(home: Path) -> None:
    def found(*words: str, **environ: str) -> dict[str, Any]:
        checks = cfab(home, "doctor", *words, "--json", environ={"CFAB_PROVIDER_GPU": "none", **environ}).json
        return {check["name"]: check for check in checks}

    config = NodeConfig(home=home, name="n", api_socket=home / "s", provide=True)
    for check in market_checks.check_place(config):
        assert (check["ok"], check["warning"]) == (True, True)
        assert f"set {check['name']} = " in check["fix"]
    said = structs.replace(config, provider=ProviderConfig(region="eu-north", jurisdiction="se"))
    assert [(check["detail"], check["warning"]) for check in market_checks.check_place(said)] == [
        ("eu-north", False),
        ("se", False),
    ]
    (home / "config.toml").write_text(
        f'[chain]\nrpc = "http://127.0.0.1:1"\nchain_id = 1\nescrow = "0x{"0e" * 20}"\ntoken = "0x{"0c" * 20}"\n'
    )
    assert found("--provide", CFAB_PROVIDER_REGION="eu")["region"]["warning"] is False
    assert found("--provide", CFAB_PROVIDER_REGION="eu")["jurisdiction"]["warning"] is True
    assert not {"region", "jurisdiction"} & found().keys(), "a requester stands wherever it likes"


def test_cards_are_looked_for_only_when_they_are_to_be_sold(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Gpu(uuid="GPU-1", model="H100", vram_mib=81_559, driver="1", cuda_milli=12_000, index=0)]
    monkeypatch.setattr("runtime.nvidia_probe.NvidiaProbe.gpus", lambda probe: found)
    seller = NodeConfig(home=home, name="n", api_socket=home / "s", provide=True)
    assert market_checks.check_gpu(seller)[0]["detail"] == "H100 (80GiB)"
    found.clear()
    assert not market_checks.check_gpu(seller)[0]["ok"]
    assert market_checks.check_gpu(structs.replace(seller, provide=False)) == []
    cpu_only = structs.replace(seller, provider=ProviderConfig(gpu=GpuChoice(kind="none")))
    assert market_checks.check_gpu(cpu_only) == []


def test_doctor_looks_with_the_flags_that_up_would_get(home: Path) -> None:
    ended = cfab(home, "doctor", "--listen", "/ip4/127.0.0.2/tcp/4999", "--json")
    assert "/ip4/127.0.0.2/tcp/4999 is free" in [check["detail"] for check in ended.json]
    assert "a provider needs a [chain]" in cfab(home, "doctor", "--provide").out.decode()


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"eth_chainId": "0x1", "eth_getCode": "0x6001"}, "is chain 1, not 31337"),
        ({"eth_chainId": "0x7a69", "eth_getCode": "0x"}, "no contract at 0x0e0e"),
        ({"eth_chainId": "0x7a69", "eth_getCode": "0x6001"}, "is not the escrow of this release"),
        ({"eth_chainId": None, "eth_getCode": "0x"}, "no JSON-RPC answer"),
        ({"eth_chainId": "cheese", "eth_getCode": "0x"}, "no JSON-RPC answer"),
    ],
)
def test_chain_is_wrong_in_one_way(answers: dict[str, Any], says: str) -> None:
    with a_chain(answers) as chain:
        check = market_checks.check_chain(chain)
    assert not check["ok"]
    assert says in check["detail"]
    assert check["fix"]


def test_chain_that_is_not_there(home: Path) -> None:
    with a_chain({}) as chain:
        pass
    check = market_checks.check_chain(chain)
    assert not check["ok"]
    assert "no JSON-RPC answer" in check["detail"]


def test_engine_is_asked_itself(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    config = load_config(home, environ={"CFAB_PROVIDER_ENGINE": f"unix://{path}"})
    body = b'{"Version": "20.10"}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with an_engine(path, answer):
        check = machine_checks.check_engine(config)
    assert check["ok"]
    assert "20.10" in check["detail"]


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"])
def test_engine_that_talks_nonsense_is_no_engine(home: Path, tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "engine.sock"
    config = load_config(home, environ={"CFAB_PROVIDER_ENGINE": str(path)})
    with an_engine(path, answer):
        check = machine_checks.check_engine(config)
    assert check["warning"]
    assert check["fix"]


def test_engine_matters_only_to_who_sells(home: Path) -> None:
    environ = {"CFAB_PROVIDER_ENGINE": str(home / "absent.sock")}
    assert machine_checks.check_engine(load_config(home, environ=environ))["warning"]
    (home / "config.toml").write_text(
        f'[node]\nprovide = true\n[chain]\nrpc = "http://127.0.0.1:1"\nchain_id = 1\nescrow = "0x{"0e" * 20}"\n'
        f'token = "0x{"0c" * 20}"\n'
    )
    check = machine_checks.check_engine(load_config(home, environ=environ))
    assert not check["ok"]
    assert "apt-get install" in check["fix"]


def test_port_in_use_is_found(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        check = machine_checks.check_ports(load_config(home, flags={"node.listen": [address]}))[0]
    assert not check["ok"]
    assert "in use" in check["detail"]
    assert machine_checks.check_ports(load_config(home, flags={"node.listen": [address]}))[0]["ok"]


def test_open_home_and_open_keys_fail(home: Path) -> None:
    assert machine_checks.check_home(home)["ok"]
    assert machine_checks.check_keys(home) == []
    (home / "node.key").touch(mode=0o600)
    assert machine_checks.check_keys(home)[0]["ok"]
    (home / "node.key").chmod(0o644)
    home.chmod(0o755)
    assert not machine_checks.check_keys(home)[0]["ok"]
    assert not machine_checks.check_home(home)["ok"]


def test_doctor_looks_and_never_makes(tmp_path: Path) -> None:
    home = tmp_path / "absent"
    names = {check["name"] for check in cfab(home, "doctor", "--json").json}
    assert {"home", "disk", "clock", "config", "node", "port", "engine", "wallet"} <= names
    assert not home.exists()


def test_doctor_tells_of_a_broken_config_and_goes_on(home: Path) -> None:
    (home / "config.toml").write_text("[nod]\n")
    ended = cfab(home, "doctor")
    assert ended.code == 1
    assert "did you mean 'node'" in ended.out.decode()
    assert "disk" in ended.out.decode()
