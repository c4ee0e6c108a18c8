"""Executing on the Rust EVM: cold storage every time, nothing kept but what is returned, refunds foreseen."""

from __future__ import annotations

from dataclasses import replace

from eth_abi.abi import encode
from eth_hash.auto import keccak

from ledger.artifact import load_artifact
from ledger.revm_world import BlockContext, Call, EvmAccount, State, charge, estimate, execute

SENDER, TARGET = "0x" + "f1" * 20, "0x" + "34" * 20
BLOCK = BlockContext(31337, 7, 1_800_000_000)
RICH: State = {SENDER: EvmAccount(balance=10**20, nonce=3)}


def contract(code: str) -> State:
    return {**RICH, TARGET: EvmAccount(code=bytes.fromhex(code))}


def call(data: str = "", value: int = 0) -> Call:
    return Call(SENDER, TARGET, bytes.fromhex(data), value)


def mint(account: str, amount: int) -> bytes:
    return keccak(b"mint(address,uint256)")[:4] + encode(["address", "uint256"], [account, amount])


def test_each_execution_meets_cold_storage() -> None:
    # SLOAD of slot 0: 2,100 gas when cold, 100 when something left it warm.
    state = contract("60005400")
    state = {**state, TARGET: replace(state[TARGET], storage={0: 5, 1: 6, 2: 7})}
    assert [execute(state, call(), BLOCK).gas_used for _ in range(2)] == [21_000 + 3 + 2_100] * 2


def test_storage_is_written_back_and_zeros_are_forgotten() -> None:
    # sstore(0, 1) and sstore(1, 0)
    state = contract("6001600055600060015500")
    state = {**state, TARGET: replace(state[TARGET], storage={1: 9, 2: 8})}
    outcome = execute(state, call(), BLOCK)
    assert outcome.state[TARGET].storage == {0: 1, 2: 8}
    assert state[TARGET].storage == {1: 9, 2: 8}


def test_a_revert_returns_its_data_and_changes_nothing() -> None:
    # sstore(0, 1); mstore(0, 0xab); revert(31, 1)
    outcome = execute(contract("600160005560ab6000526001601ffd"), call(), BLOCK)
    assert (outcome.succeeded, outcome.output) == (False, b"\xab")
    assert outcome.state[TARGET].storage == {}
    assert outcome.gas_used > 21_000


def test_value_moves_and_what_the_sender_lacks_does_not() -> None:
    assert execute(RICH, call(value=10**20), BLOCK).state[TARGET].balance == 10**20
    refused = execute(RICH, call(value=10**20 + 1), BLOCK)
    assert not refused.succeeded
    assert refused.state is RICH


def test_a_contract_sees_its_block() -> None:
    # return timestamp, number, chain id
    outcome = execute(contract("42600052436020524660405260606000f3"), call(), BLOCK)
    assert [int.from_bytes(outcome.output[i : i + 32], "big") for i in (0, 32, 64)] == [1_800_000_000, 7, 31337]


def test_logs_and_the_created_address_are_told() -> None:
    made = execute(RICH, Call(SENDER, None, load_artifact("TestToken").bytecode), BLOCK)
    assert made.created is not None
    minted = execute(made.state, Call(SENDER, made.created, mint(SENDER, 5)), BLOCK)
    (log,) = minted.logs
    assert log.address == made.created
    assert log.topics[0] == keccak(b"Transfer(address,address,uint256)")
    assert int.from_bytes(log.data, "big") == 5


def test_an_estimate_is_enough_to_run_with() -> None:
    # Clearing ten slots earns back a fifth of the gas, but only at the end: with gas_used alone it would run dry.
    clear = "".join(f"600060{slot:02x}55" for slot in range(10))
    state = contract(clear + "00")
    state = {**state, TARGET: replace(state[TARGET], storage=dict.fromkeys(range(10), 1))}
    used = execute(state, call(), BLOCK).gas_used
    needed = estimate(state, call(), BLOCK).gas_used
    assert not execute(state, replace(call(), gas=used), BLOCK).succeeded
    assert execute(state, replace(call(), gas=needed), BLOCK).succeeded
    assert needed < used * 2


def test_an_estimate_of_a_revert_is_that_revert() -> None:
    outcome = estimate(contract("60ab6000526001601ffd"), call(), BLOCK)
    assert (outcome.succeeded, outcome.output) == (False, b"\xab")


def test_a_charge_takes_the_fee_and_the_nonce() -> None:
    charged = charge(RICH, SENDER, nonce=3, fee=100)
    assert (charged[SENDER].balance, charged[SENDER].nonce) == (10**20 - 100, 4)
    assert RICH[SENDER].balance == 10**20
