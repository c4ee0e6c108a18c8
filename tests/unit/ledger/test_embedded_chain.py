"""The embedded chain keeps the rules that a client relies on: nonces, fees, reverts, older blocks, moving time."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_hash.auto import keccak

from ledger.artifact import load_artifact
from ledger.embedded_chain import KEPT_BLOCKS, EmbeddedChain
from market.errors import InvalidRequest

GWEI = 10**9
WALLET = Account.from_key(b"\x41" * 32)
FUNDS = 10**18
TARGET = "0x" + "34" * 20


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chain(clock: Clock) -> EmbeddedChain:
    return EmbeddedChain(chain_id=31337, now_s=clock, block_time_s=1, funded={WALLET.address.lower(): FUNDS})


def raw(**fields: Any) -> bytes:
    whole = {
        "type": 2,
        "chainId": 31337,
        "nonce": 0,
        "gas": 100_000,
        "maxFeePerGas": 3 * GWEI,
        "maxPriorityFeePerGas": GWEI,
        "to": TARGET,
        "value": 0,
    } | fields
    return bytes(WALLET.sign_transaction(whole).raw_transaction)


def test_a_payment_moves_value_and_costs_the_gas_really_used(chain: EmbeddedChain) -> None:
    hash = chain.send(raw(value=12345))
    assert chain.account(TARGET).balance == 12345
    assert chain.mined[hash].gas_used == 21_000
    # Base fee 1 gwei and the tip; not the cap.
    assert chain.account(WALLET.address).balance == FUNDS - 12345 - 21_000 * 2 * GWEI
    assert chain.account(WALLET.address).nonce == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"chainId": 1}, "wrong_chain"),
        ({"nonce": 1}, "bad_nonce"),
        ({"gas": 20_999}, "bad_gas"),
        ({"gas": 10**9}, "bad_gas"),
        ({"maxFeePerGas": GWEI - 1, "maxPriorityFeePerGas": 0}, "bad_fee"),
        ({"value": FUNDS}, "gas_short"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_changes_nothing(
    chain: EmbeddedChain, fields: dict[str, int], code: str
) -> None:
    before = chain.head
    with pytest.raises(InvalidRequest) as refused:
        chain.send(raw(**fields))
    assert refused.value.code == code
    assert chain.head is before


def test_a_transaction_is_taken_once(chain: EmbeddedChain) -> None:
    chain.send(raw())
    with pytest.raises(InvalidRequest) as refused:
        chain.send(raw())
    assert refused.value.code == "already_known"


def test_a_revert_is_mined_and_paid_for(chain: EmbeddedChain) -> None:
    hash = chain.send(raw(to="", data="0x60006000fd"))
    found = chain.mined[hash]
    assert not found.succeeded
    assert chain.account(WALLET.address).balance == FUNDS - found.gas_used * 2 * GWEI
    assert chain.account(WALLET.address).nonce == 1


def test_running_out_of_gas_costs_all_of_it(chain: EmbeddedChain) -> None:
    hash = chain.send(raw(to="", data=load_artifact("TestToken").bytecode, gas=100_000))
    assert (chain.mined[hash].succeeded, chain.mined[hash].gas_used) == (False, 100_000)


def test_a_contract_lives_where_its_maker_and_nonce_put_it(chain: EmbeddedChain) -> None:
    chain.send(raw())
    hash = chain.send(raw(nonce=1, to="", data=load_artifact("TestToken").bytecode, gas=2_000_000))
    created = chain.mined[hash].created
    expected = keccak(b"\xd6\x94" + bytes.fromhex(WALLET.address[2:]) + b"\x01")[12:]
    assert created == "0x" + expected.hex()
    assert load_artifact("TestToken").is_deployed_as(chain.account(created).code)


def test_older_blocks_answer_as_they_did(chain: EmbeddedChain) -> None:
    before = chain.head
    chain.send(raw(value=5))
    chain.send(raw(nonce=1, value=6))
    assert [chain.account(TARGET, block).balance for block in (before, chain.blocks[1], chain.head)] == [0, 5, 11]


def test_blocks_come_with_time_and_time_never_goes_back(chain: EmbeddedChain, clock: Clock) -> None:
    start = chain.head
    clock.now += 3.5
    chain.catch_up()
    assert (chain.head.number, chain.head.timestamp) == (3, start.timestamp + 3)
    clock.now -= 100
    chain.send(raw())
    assert chain.head.timestamp == start.timestamp + 3
    chain.catch_up()
    assert chain.head.number == 4


def test_each_block_names_its_parent(chain: EmbeddedChain, clock: Clock) -> None:
    clock.now += 3
    chain.catch_up()
    chain.send(raw())
    for number in range(1, chain.head.number + 1):
        assert chain.blocks[number].parent == chain.blocks[number - 1].hash
    assert len({block.hash for block in chain.blocks.values()}) == len(chain.blocks)


def test_a_long_sleep_makes_one_block_and_memory_stays_bounded(chain: EmbeddedChain, clock: Clock) -> None:
    clock.now += 10**7
    chain.catch_up()
    assert chain.head.number == 1
    for _ in range(KEPT_BLOCKS + 5):
        chain.mine()
    assert len(chain.blocks) == KEPT_BLOCKS
