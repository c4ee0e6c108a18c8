"""``cfab chain address``: what it prints is where the factory puts the escrow, and it says when the config differs."""

from __future__ import annotations

from pathlib import Path

import pytest
from eth_utils.address import to_checksum_address

from ledger.artifact import load_artifact
from ledger.create2 import DelayTerms, escrow_address
from tests.fakes.cli_runner import cfab

TOKEN = b"\x0c" * 20


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


def configure(home: Path, escrow: bytes, token: bytes = TOKEN) -> None:
    (home / "config.toml").write_text(
        f'[chain]\nrpc = "http://127.0.0.1:1"\nchain_id = 1\nescrow = "0x{escrow.hex()}"\ntoken = "0x{token.hex()}"\n'
    )


@pytest.mark.parametrize(
    ("words", "terms"),
    [([], DelayTerms(3600, 24)), (["--window", "1h"], DelayTerms(3600, 1)), (["--window", "90s"], DelayTerms(1, 90))],
)
def test_the_address_is_where_the_factory_puts_it(home: Path, words: list[str], terms: DelayTerms) -> None:
    found = cfab(home, "chain", "address", "--token", "0x" + TOKEN.hex(), *words, "--json").json
    assert found["escrow"] == to_checksum_address(escrow_address(TOKEN, terms))
    assert (found["window_s"], found["step_s"]) == (terms.exit_delay_s, terms.step_s)
    assert found["runtime_sha256"] == load_artifact("Escrow").runtime_sha256
    assert found["configured"] is None


def test_the_token_of_the_config_is_taken_and_its_escrow_compared(home: Path) -> None:
    right = escrow_address(TOKEN, DelayTerms())
    configure(home, right)
    assert cfab(home, "chain", "address", "--json").json["configured"] is True
    assert cfab(home, "chain", "address").err == ""
    configure(home, b"\x0e" * 20)
    assert cfab(home, "chain", "address", "--json").json["configured"] is False
    shown = cfab(home, "chain", "address")
    assert f"escrow   {to_checksum_address(right)}\n" in shown.out.decode()
    assert "another escrow" in shown.err
    assert cfab(home, "chain", "address", "--token", "0x" + "0d" * 20, "--json").json["configured"] is None


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "no token under [chain]"),
        (["--token", "0x12"], 2, "--token"),
        (["--token", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92267"], 2, "has a letter wrong"),
        (["--token", "0x" + "0c" * 20, "--window", "soon"], 2, "--window"),
        (["--token", "0x" + "0c" * 20, "--window", "11d"], 2, "window"),
        (["--token", "0x" + "0c" * 20, "--window", "0s"], 2, "window"),
    ],
)
def test_what_cannot_be_is_refused_with_what_could(home: Path, words: list[str], code: int, told: str) -> None:
    ended = cfab(home, "chain", "address", *words)
    assert ended.code == code
    assert told in ended.err
    assert "fix:" in ended.err
