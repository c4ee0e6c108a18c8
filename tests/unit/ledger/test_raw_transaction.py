"""Signed transactions, as any wallet writes them, are read back exactly; anything else is refused."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from ledger.raw_transaction import read_transaction
from market.errors import InvalidRequest

WALLET = Account.from_key(b"\x31" * 32)
TARGET = "0x" + "12" * 20
FEES: dict[str, Any] = {"type": 2, "maxFeePerGas": 30, "maxPriorityFeePerGas": 2}


def signed(**fields: Any) -> bytes:
    return bytes(
        WALLET.sign_transaction({"gas": 21_000, "value": 0, "nonce": 0, "chainId": 31337, **fields}).raw_transaction
    )


@given(st.integers(0, 2**32), st.integers(0, 2**90), st.binary(max_size=80), st.booleans())
def test_a_fee_market_transaction_is_read_back(nonce: int, value: int, data: bytes, deploys: bool) -> None:
    raw = signed(**FEES, nonce=nonce, value=value, data=data, to="" if deploys else TARGET)
    found = read_transaction(raw)
    assert found.sender == WALLET.address.lower()
    assert found.to == (None if deploys else TARGET)
    assert (found.kind, found.nonce, found.value, found.data) == (2, nonce, value, data)
    assert (found.gas, found.fee_cap, found.tip_cap, found.chain_id) == (21_000, 30, 2, 31337)


@given(st.integers(0, 2**32), st.integers(1, 2**40))
def test_a_legacy_transaction_is_read_back(nonce: int, price: int) -> None:
    found = read_transaction(signed(gasPrice=price, nonce=nonce, to=TARGET))
    assert found.sender == WALLET.address.lower()
    assert (found.kind, found.nonce, found.to) == (0, nonce, TARGET)
    assert (found.fee_cap, found.tip_cap, found.chain_id) == (price, price, 31337)


def test_a_transaction_s_hash_is_the_wallet_s() -> None:
    made = WALLET.sign_transaction({"gas": 21_000, "value": 0, "nonce": 0, "chainId": 31337, "to": TARGET, **FEES})
    assert read_transaction(bytes(made.raw_transaction)).hash == bytes(made.hash)


def test_an_access_list_transaction_is_of_a_kind_not_known_here() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_transaction(signed(type=1, gasPrice=9, accessList=[], to=TARGET))
    assert refused.value.code == "bad_transaction"


@given(st.binary(max_size=200))
def test_garbage_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_transaction(raw)


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_never_keeps_the_sender(at: int, flip: int) -> None:
    raw = bytearray(signed(**FEES, to=TARGET, data=b"hello"))
    raw[at % len(raw)] ^= flip
    try:
        found = read_transaction(bytes(raw))
    except InvalidRequest:
        return
    assert found.sender != WALLET.address.lower()
