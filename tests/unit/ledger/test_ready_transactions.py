"""Transactions written out for another wallet: what the escrow and the token would read in them."""

from __future__ import annotations

from eth_abi.abi import decode
from eth_utils.address import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st
from web3 import Web3

from ledger.evm_reader import escrow_at, token_at
from ledger.ports import LaneKey
from ledger.ready_transactions import ready_deposit

LANE = LaneKey(b"\x01" * 20, b"\x02" * 20, b"\x03" * 20)
ESCROW, TOKEN = b"\xe5" * 20, b"\x70" * 20


@settings(deadline=None)
@given(amount=st.integers(1, 2**96 - 1))
def test_the_calls_are_those_of_the_shipped_contract(amount: int):
    approve, deposit = ready_deposit(LANE, amount, chain_id=8453, escrow=ESCROW, token=TOKEN)
    parties = [to_checksum_address(one) for one in (LANE.payer, LANE.payee, LANE.signer)]
    assert "0x" + deposit.data.hex() == escrow_at(Web3(), ESCROW).encode_abi("deposit", [*parties, amount])
    spender = to_checksum_address(ESCROW)
    assert "0x" + approve.data.hex() == token_at(Web3(), TOKEN).encode_abi("approve", [spender, amount])
    assert (approve.to, deposit.to) == (TOKEN, ESCROW)
    assert {(one.value, one.chain_id) for one in (approve, deposit)} == {(0, 8453)}


def test_no_more_is_approved_than_is_deposited():
    approve, _ = ready_deposit(LANE, 77, chain_id=1, escrow=ESCROW, token=TOKEN)
    assert decode(["address", "uint256"], approve.data[4:])[1] == 77


def test_an_allowance_that_is_there_needs_no_approval():
    assert [one.what for one in ready_deposit(LANE, 5, chain_id=1, escrow=ESCROW, token=TOKEN, allowance=4)] == [
        "approve",
        "deposit",
    ]
    (only,) = ready_deposit(LANE, 5, chain_id=1, escrow=ESCROW, token=TOKEN, allowance=5)
    assert only.what == "deposit"
