"""The escrow's address: a function of its code and terms, and the same as what the factory really does."""

from __future__ import annotations

import pytest
import rlp
from eth_account import Account
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from ledger.artifact import load_artifact
from ledger.create2 import (
    FACTORY,
    FACTORY_CODE,
    FACTORY_COST_WEI,
    FACTORY_SENDER,
    FACTORY_TRANSACTION,
    MAX_STEPS,
    SALT,
    DelayTerms,
    delay_terms,
    escrow_address,
    escrow_init_code,
)
from ledger.revm_world import BlockContext, Call, EvmAccount, State, execute
from market.errors import InvalidRequest

SENDER = "0x" + "f1" * 20
START: State = {
    SENDER: EvmAccount(balance=10**20),
    "0x" + FACTORY.hex(): EvmAccount(nonce=1, code=FACTORY_CODE),
}


@pytest.mark.parametrize("chain_id", [1, 31337, 8453])
def test_the_factory_puts_the_escrow_there_on_every_chain(chain_id: int) -> None:
    block = BlockContext(chain_id, 1, 1_800_000_000)
    token = execute(START, Call(SENDER, None, load_artifact("TestToken").bytecode), block)
    address = bytes.fromhex(str(token.created)[2:])
    terms = DelayTerms()
    made = execute(token.state, Call(SENDER, "0x" + FACTORY.hex(), SALT + escrow_init_code(address, terms)), block)
    found = made.state["0x" + escrow_address(address, terms).hex()]
    assert load_artifact("Escrow").is_deployed_as(found.code)
    again = execute(made.state, Call(SENDER, "0x" + FACTORY.hex(), SALT + escrow_init_code(address, terms)), block)
    assert not again.succeeded


def test_another_token_or_window_is_another_escrow() -> None:
    addresses = {
        escrow_address(token, terms)
        for token in (b"\x01" * 20, b"\x02" * 20)
        for terms in (DelayTerms(), DelayTerms(3600, 25), DelayTerms(1800, 48))
    }
    assert len(addresses) == 6


def test_the_factory_s_transaction_is_its_own_proof() -> None:
    # Whoever signed makes the address: a byte of it changed and another account would send something else.
    sender = bytes.fromhex(Account.recover_transaction(FACTORY_TRANSACTION)[2:])
    assert sender == FACTORY_SENDER
    assert keccak(rlp.encode([sender, b""]))[12:] == FACTORY
    _, price, gas = (int.from_bytes(field, "big") for field in rlp.decode(FACTORY_TRANSACTION)[:3])
    assert price * gas == FACTORY_COST_WEI


@given(st.integers(1, 255), st.sampled_from([1, 60, 3600]))
def test_seconds_minutes_and_hours_can_all_be_had(count: int, unit_s: int) -> None:
    terms = delay_terms(count * unit_s)
    assert terms.exit_delay_s == count * unit_s
    assert 1 <= terms.step_s <= 3600
    assert 1 <= terms.steps <= MAX_STEPS


def test_whole_hours_are_counted_in_hours() -> None:
    assert delay_terms(86_400) == DelayTerms(3600, 24)


@pytest.mark.parametrize("seconds", [-1, 0, 255 * 3600 + 1, 10**12, 7919])
def test_what_no_escrow_can_wait_is_refused(seconds: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        delay_terms(seconds)
    assert refused.value.code == "exit_delay"
