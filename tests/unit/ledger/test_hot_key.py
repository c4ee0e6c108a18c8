"""The key of a running node signs for its lanes only, and not more than the day's limit, whatever it is asked."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from eth_abi import encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.artifact import load_artifact
from ledger.hot_key import (
    DAY_MS,
    MAX_SPENDINGS,
    HotKeyRules,
    HotKeySigner,
    Spending,
    Spendings,
    spend,
    tokens_moved,
)
from ledger.transaction_signing import KeySigner, UnsignedTransaction
from market.errors import InvalidRequest
from tests.fakes.memory_journal import MemoryJournal

KEY = KeySigner(b"\x61" * 32)
ESCROW, TOKEN, PAYEE, STRANGER = b"\x01" * 20, b"\x02" * 20, b"\x03" * 20, b"\x04" * 20
RULES = HotKeyRules(escrow=ESCROW, token=TOKEN, daily=1000, payouts=frozenset({PAYEE}))


def call(to: bytes | None, signature: str, *values: Any, value: int = 0, nonce: int = 0) -> UnsignedTransaction:
    kinds = signature[signature.index("(") :]
    data = keccak(signature.encode())[:4] + encode([kinds], [values])
    # A tuple with a dynamic part is encoded behind an offset that arguments of a call do not have.
    if "[]" in kinds or "bytes" in kinds.replace("bytes32", ""):
        data = data[:4] + data[36:]
    return UnsignedTransaction(
        chain_id=5, nonce=nonce, to=to, data=data, value=value, gas=10**5, fee_cap=10**9, tip_cap=1
    )


def deposit(amount: int, *, payer: bytes = KEY.account, nonce: int = 0) -> UnsignedTransaction:
    return call(ESCROW, "deposit(address,address,address,uint96)", payer, PAYEE, PAYEE, amount, nonce=nonce)


MANY = "depositMany((address,address,address,uint96,uint8)[])"


@pytest.mark.parametrize(
    ("transaction", "amount"),
    [
        (deposit(700), 700),
        (call(ESCROW, MANY, [(KEY.account, PAYEE, PAYEE, 3, 0), (KEY.account, PAYEE, PAYEE, 4, 0)]), 7),
        (call(ESCROW, "addStake(uint96)", 9), 9),
        (call(TOKEN, "approve(address,uint256)", ESCROW, 2**256 - 1), 0),
        (call(ESCROW, "redeemMany(address,bytes)", PAYEE, b"\x00" * 96), 0),
        (call(ESCROW, "redeemManyTo(address,bytes)", PAYEE, b""), 0),
        (call(TOKEN, "transfer(address,uint256)", PAYEE, 5), 0),
        (call(ESCROW, "startExit(address,address)", PAYEE, PAYEE), 0),
        (replace(deposit(0), to=KEY.account, data=b""), 0),
    ],
)
def test_what_it_signs_and_what_that_moves(transaction: UnsignedTransaction, amount: int) -> None:
    assert tokens_moved(transaction, RULES, KEY.account) == amount


@pytest.mark.parametrize(
    "transaction",
    [
        call(TOKEN, "transfer(address,uint256)", STRANGER, 1),
        call(TOKEN, "approve(address,uint256)", STRANGER, 1),
        call(TOKEN, "transferFrom(address,address,uint256)", KEY.account, STRANGER, 1),
        call(STRANGER, "approve(address,uint256)", ESCROW, 1),
        deposit(1, payer=STRANGER),
        call(ESCROW, MANY, [(KEY.account, PAYEE, PAYEE, 3, 0), (STRANGER, PAYEE, PAYEE, 4, 0)]),
        call(ESCROW, "redeemManyTo(address,bytes)", STRANGER, b""),
        call(ESCROW, "unknown(uint256)", 1),
        replace(deposit(1), value=1),
        replace(deposit(1), to=None),
        replace(deposit(1), to=STRANGER, data=b""),
        replace(deposit(1), data=deposit(1).data[:20]),
        replace(deposit(1), data=b""),
    ],
)
async def test_what_it_does_not_sign(transaction: UnsignedTransaction) -> None:
    signer = HotKeySigner(KEY, RULES, journal=MemoryJournal(), now_ms=lambda: 0)
    with pytest.raises(InvalidRequest) as refused:
        await signer.sign(transaction)
    assert refused.value.code == "signer_refuses"


def test_every_function_that_changes_the_escrow_was_thought_of() -> None:
    from ledger.hot_key import _MOVES

    changing = {
        entry["name"]
        for entry in load_artifact("Escrow").abi
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
    }
    assert changing == set(_MOVES)


async def test_the_day_s_limit_counts_over_restarts_and_ends_with_the_day() -> None:
    journal, clock = MemoryJournal(), [0]

    def signer() -> HotKeySigner:
        return HotKeySigner(KEY, RULES, journal=journal, now_ms=lambda: clock[0])

    await signer().sign(deposit(600, nonce=1))
    journal = journal.crash()
    with pytest.raises(InvalidRequest) as refused:
        await signer().sign(deposit(401, nonce=2))
    assert refused.value.code == "deposit_limit"
    await signer().sign(deposit(400, nonce=2))
    clock[0] = DAY_MS
    await signer().sign(deposit(1000, nonce=3))


async def test_two_that_are_signed_at_the_same_moment_share_the_limit() -> None:
    signer = HotKeySigner(KEY, RULES, journal=MemoryJournal(), now_ms=lambda: 1)
    outcomes: list[str] = []

    async def ask(nonce: int) -> None:
        try:
            await signer.sign(deposit(600, nonce=nonce))
            outcomes.append("signed")
        except InvalidRequest as error:
            outcomes.append(error.code)

    async with trio.open_nursery() as nursery:
        for nonce in range(3):
            nursery.start_soon(ask, nonce)
    assert sorted(outcomes) == ["deposit_limit", "deposit_limit", "signed"]


async def test_the_same_nonce_at_a_higher_fee_counts_once() -> None:
    signer = HotKeySigner(KEY, RULES, journal=MemoryJournal(), now_ms=lambda: 0)
    for fee in (10**9, 2 * 10**9, 3 * 10**9):
        await signer.sign(replace(deposit(1000), fee_cap=fee))


async def test_without_a_limit_nothing_is_counted() -> None:
    journal = MemoryJournal()
    signer = HotKeySigner(KEY, replace(RULES, daily=0, payouts=None), journal=journal, now_ms=lambda: 0)
    await signer.sign(deposit(10**12))
    await signer.sign(call(ESCROW, "redeemManyTo(address,bytes)", STRANGER, b""))
    assert await journal.get_all("") == {}


def test_a_day_of_very_many_deposits_is_remembered_in_little_room() -> None:
    seen = Spendings()
    for nonce in range(MAX_SPENDINGS + 200):
        seen = spend(seen, Spending(nonce=nonce, amount=1, at_ms=nonce), 10**9)
    assert len(seen.entries) <= MAX_SPENDINGS + 1
    assert sum(one.amount for one in seen.entries) == MAX_SPENDINGS + 200


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 600), st.integers(0, DAY_MS)), max_size=40))
def test_no_day_sees_more_than_its_limit(asked: list[tuple[int, int, int]]) -> None:
    seen, signed, now = Spendings(), dict[int, tuple[int, int]](), 0
    for nonce, amount, later in asked:
        now += later
        try:
            seen = spend(seen, Spending(nonce=nonce, amount=amount, at_ms=now), 1000)
        except InvalidRequest:
            continue
        most, at_ms = signed.get(nonce, (0, now))
        signed[nonce] = (max(amount, most if at_ms > now - DAY_MS else 0), now)
        recent = sum(most for most, at_ms in signed.values() if at_ms > now - DAY_MS)
        assert recent <= 1000
