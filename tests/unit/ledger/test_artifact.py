"""The shipped artifacts: what is in them, and how our escrow is told from any other code."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak

from ledger.artifact import load_artifact
from ledger.revm_world import BlockContext, Call, EvmAccount, execute

SENDER = "0x" + "f1" * 20
BLOCK = BlockContext(31337, 1, 1_800_000_000)
SOURCES = Path(__file__).parents[3] / "ledger" / "contracts" / "src"


def deployed_escrow(exit_delay_s: int) -> bytes:
    state = {SENDER: EvmAccount(balance=10**20)}
    token = execute(state, Call(SENDER, None, load_artifact("TestToken").bytecode), BLOCK)
    arguments = encode(["address", "uint40"], [token.created, exit_delay_s])
    escrow = execute(token.state, Call(SENDER, None, load_artifact("Escrow").bytecode + arguments), BLOCK)
    assert escrow.created is not None
    return escrow.state[escrow.created].code


@pytest.mark.parametrize("contract", ["Escrow", "TestToken"])
def test_the_artifact_belongs_to_the_source_beside_it(contract: str) -> None:
    source = (SOURCES / f"{contract}.sol").read_bytes()
    assert load_artifact(contract).source_sha256 == hashlib.sha256(source).hexdigest()


@pytest.mark.parametrize("exit_delay_s", [1, 3600, 30 * 86400])
def test_our_code_is_known_whatever_its_immutables_are(exit_delay_s: int) -> None:
    assert load_artifact("Escrow").is_deployed_as(deployed_escrow(exit_delay_s))


def test_code_that_differs_anywhere_else_is_not_ours() -> None:
    artifact, code = load_artifact("Escrow"), deployed_escrow(3600)
    start, length = artifact.immutables[0]
    for at in (0, start - 1, start + length, len(code) - 1):
        changed = bytearray(code)
        changed[at] ^= 1
        assert not artifact.is_deployed_as(bytes(changed))
    assert not artifact.is_deployed_as(code + b"\0")
    assert not artifact.is_deployed_as(b"")


def test_a_revert_is_named_from_its_data() -> None:
    artifact = load_artifact("Escrow")
    assert artifact.error_name(keccak(b"ExitNotDue(uint256)")[:4] + bytes(32)) == "ExitNotDue"
    assert artifact.error_name(keccak(b"NothingHeld()")[:4]) == "NothingHeld"
    assert artifact.error_name(b"") == "unknown"
    assert artifact.error_name(b"\x01\x02\x03\x04") == "unknown"


def test_an_escrow_refuses_a_delay_out_of_range_and_a_token_without_code() -> None:
    state = {SENDER: EvmAccount(balance=10**20)}
    token = execute(state, Call(SENDER, None, load_artifact("TestToken").bytecode), BLOCK)
    for address, delay, error in (
        (token.created, 0, "ExitDelayOutOfRange"),
        (token.created, 30 * 86400 + 1, "ExitDelayOutOfRange"),
        (SENDER, 3600, "NotAToken"),
    ):
        bytecode = load_artifact("Escrow").bytecode + encode(["address", "uint40"], [address, delay])
        refused = execute(token.state, Call(SENDER, None, bytecode), BLOCK)
        assert not refused.succeeded
        assert load_artifact("Escrow").error_name(refused.output) == error
