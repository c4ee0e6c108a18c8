"""The shipped artifacts: what is in them, and how our escrow is told from any other code."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from eth_hash.auto import keccak

from ledger.artifact import load_artifact
from ledger.create2 import DelayTerms, escrow_init_code
from ledger.revm_world import BlockContext, Call, EvmAccount, execute

SENDER = "0x" + "f1" * 20
BLOCK = BlockContext(31337, 1, 1_800_000_000)
SOURCES = Path(__file__).parents[3] / "ledger" / "contracts" / "src"


def deployed_escrow(terms: DelayTerms) -> bytes:
    state = {SENDER: EvmAccount(balance=10**20)}
    token = execute(state, Call(SENDER, None, load_artifact("TestToken").bytecode), BLOCK)
    init_code = escrow_init_code(bytes.fromhex(str(token.created)[2:]), terms)
    escrow = execute(token.state, Call(SENDER, None, init_code), BLOCK)
    assert escrow.created is not None
    return escrow.state[escrow.created].code


@pytest.mark.parametrize("contract", ["Escrow", "TestToken"])
def test_the_artifact_belongs_to_the_sources_beside_it(contract: str) -> None:
    artifact = load_artifact(contract)
    source = b"".join((SOURCES / name).read_bytes() for name in artifact.sources)
    assert artifact.source_sha256 == hashlib.sha256(source).hexdigest()


def test_every_source_is_part_of_an_artifact() -> None:
    used = {name for contract in ("Escrow", "TestToken") for name in load_artifact(contract).sources}
    assert used == {path.name for path in SOURCES.glob("*.sol")}


@pytest.mark.parametrize("terms", [DelayTerms(1, 1), DelayTerms(), DelayTerms(3600, 255)])
def test_our_code_is_known_whatever_its_immutables_are(terms: DelayTerms) -> None:
    assert load_artifact("Escrow").is_deployed_as(deployed_escrow(terms))


def test_code_that_contradicts_itself_is_not_ours() -> None:
    # Another token in one of the places where the token stands: paid in is one, paid out would be the other.
    artifact, code = load_artifact("Escrow"), deployed_escrow(DelayTerms())
    twice = [places for places in artifact.immutables if len(places) > 1]
    assert twice
    for places in twice:
        for start, length in places:
            forged = bytearray(code)
            forged[start + length - 1] ^= 1
            assert not artifact.is_deployed_as(bytes(forged))


def test_code_that_differs_anywhere_else_is_not_ours() -> None:
    artifact, code = load_artifact("Escrow"), deployed_escrow(DelayTerms())
    start, length = artifact.immutables[0][0]
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


def test_an_escrow_refuses_delays_out_of_range_and_a_token_without_code() -> None:
    state = {SENDER: EvmAccount(balance=10**20)}
    token = execute(state, Call(SENDER, None, load_artifact("TestToken").bytecode), BLOCK)
    for address, terms, error in (
        (token.created, DelayTerms(0, 24), "DelayStepOutOfRange"),
        (token.created, DelayTerms(3601, 24), "DelayStepOutOfRange"),
        (token.created, DelayTerms(3600, 0), "NoDefaultDelay"),
        (SENDER, DelayTerms(), "NotAToken"),
    ):
        init_code = escrow_init_code(bytes.fromhex(str(address)[2:]), terms)
        refused = execute(token.state, Call(SENDER, None, init_code), BLOCK)
        assert not refused.succeeded
        assert load_artifact("Escrow").error_name(refused.output) == error


def test_nobody_can_change_stop_or_own_the_escrow() -> None:
    # Without these instructions code can neither run other code as itself, nor make or become any, nor end itself.
    forbidden = {0xF0: "CREATE", 0xF2: "CALLCODE", 0xF4: "DELEGATECALL", 0xF5: "CREATE2", 0xFF: "SELFDESTRUCT"}
    code, at, used = deployed_escrow(DelayTerms()), 0, set()
    while at < len(code):
        used.add(code[at])
        # What a push instruction pushes is data.
        at += 1 + (code[at] - 0x5F if 0x60 <= code[at] <= 0x7F else 0)
    assert {name for opcode, name in forbidden.items() if opcode in used} == set()
    assert 0xF1 in used, "the scan saw real code"
    names = " ".join(entry.get("name", "") for entry in load_artifact("Escrow").abi).lower()
    assert not any(word in names for word in ("owner", "admin", "pause", "upgrade", "role"))
