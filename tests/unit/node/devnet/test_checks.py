"""The demo's closing checks must see each single lie. The chain is a list of events; signatures are real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.ports import ChainHead, LaneKey, LedgerEvent, Transaction
from ledger.voucher import Domain, SessionKey, encode_voucher, sign_voucher
from market.money import amount_due
from market.records import Award, Lease, PaymentTerms, UsageReport
from market.signing import Signer
from node.control import money
from node.devnet.checks import (
    Books,
    check_books,
    check_model,
    check_promise,
    check_receipt,
    check_transactions,
    check_wallets,
    read_books,
    read_wallets,
)

ESCROW = b"\xee" * 20
DOMAIN = Domain(31337, ESCROW)
PAYER, PAYEE = b"\x01" * 20, b"\x02" * 20
SESSION = SessionKey(b"\x07" * 32)
REQUESTER, PROVIDER = Signer.from_seed(b"\x03" * 32), Signer.from_seed(b"\x04" * 32)
LANE = LaneKey(payer=PAYER, payee=PAYEE, signer=SESSION.address)
PRICE, GPU_MS = 100_000, 8_250
DUE = amount_due(PRICE, GPU_MS)
DEPOSITED = 50_000
BOOKS = Books(deposited=DEPOSITED, paid=DUE, refunded=DEPOSITED - DUE, held=0)
EXAMPLE = Path(__file__).parents[4] / "examples" / "digits"


class ListedChain:
    """A chain whose whole history is a list."""

    chain_id = DOMAIN.chain_id
    escrow = ESCROW

    def __init__(self, events: list[LedgerEvent], balances: dict[bytes, int]) -> None:
        self._events = events
        self._balances = balances

    async def head(self) -> ChainHead:
        return ChainHead(number=9, hash=b"\0" * 32, timestamp=0)

    async def token_balance(self, account: bytes) -> int:
        return self._balances.get(account, 0)

    async def transaction(self, transaction: bytes) -> Transaction | None:
        known = {bytes([n]) * 32: n for n in range(1, 10)}
        number = known.get(transaction)
        if number is None:
            return None
        return Transaction(hash=transaction, block=number, succeeded=number != 9, gas_used=21_000)

    async def events(self, from_block: int, to_block: int) -> list[LedgerEvent]:
        return [event for event in self._events if from_block <= event.block <= to_block]


def event(kind: str, block: int, **arguments: object) -> LedgerEvent:
    return LedgerEvent(kind=kind, block=block, index=0, transaction=bytes([block]) * 32, arguments=arguments)


HISTORY = [
    event("Deposited", 3, payer=PAYER, provider=PAYEE, signer=LANE.signer, amount=DEPOSITED),
    event("Redeemed", 5, provider=PAYEE, paid=DUE - 100, rows=1),
    event("ExitStarted", 6, payer=PAYER, provider=PAYEE, signer=LANE.signer, exitAt=99),
    event("Released", 6, payer=PAYER, provider=PAYEE, signer=LANE.signer, toPayer=7),
    event(
        "LaneClosed", 7, payer=PAYER, provider=PAYEE, signer=LANE.signer, toProvider=100, toPayer=DEPOSITED - DUE - 7
    ),
]


def award(**changes: Any) -> Award:
    fields: dict[str, Any] = {
        "requester": REQUESTER.key,
        "provider": PROVIDER.key,
        "bid_id": b"b" * 16,
        "machine": "north",
        "offer_id": b"o" * 32,
        "offer_version": 1,
        "price": PRICE,
        "slots": 1,
        "spec_hash": b"s" * 32,
        "max_duration_ms": 60_000,
        "chain_id": DOMAIN.chain_id,
        "escrow": ESCROW,
        "payer": PAYER,
        "signer": SESSION.address,
        "payee": PAYEE,
        "lane_proof": bytes(64),
        "terms": PaymentTerms(),
        "transcript": b"t" * 32,
        "issued_at": 1,
        "expires_at": 2,
    }
    return Award(**(fields | changes))


def receipt(
    *, amount: int = DUE, vouched: int = DUE, report_of: Signer = PROVIDER, lane: LaneKey = LANE, **changes: Any
) -> dict[str, Any]:
    lease = PROVIDER.sign(
        Lease(
            provider=PROVIDER.key,
            lease_id=b"l" * 16,
            award=REQUESTER.sign(award()).raw,
            slots=(0,),
            fencing=1,
            granted_at=1,
        )
    )
    report = UsageReport(
        provider=report_of.key,
        lease_id=b"l" * 16,
        sequence=1,
        previous=b"\0" * 32,
        measured_at=2,
        started_at=1,
        gpu_ms=GPU_MS,
        amount=amount,
        final=True,
    )
    report = msgspec.structs.replace(report, **changes)
    return {
        "amount": money(amount),
        "deposited": money(DEPOSITED),
        "paid": money(amount),
        "refunded": money(DEPOSITED - amount),
        "transactions": [],
        "evidence": {
            "lease": lease.raw.hex(),
            "report": report_of.sign(report).raw.hex(),
            "voucher": encode_voucher(sign_voucher(SESSION, DOMAIN, lane, vouched)).hex(),
        },
    }


def holds(receipt: dict[str, Any], books: Books = BOOKS) -> list[bool]:
    return [finding.holds for finding in check_receipt(receipt, ListedChain([], {}), books)]


async def test_books_add_up_the_whole_log():
    books = await read_books(ListedChain(HISTORY, {ESCROW: 0}))
    assert books == BOOKS
    assert check_books(books).holds


async def test_tokens_missing_from_the_escrow_are_seen():
    books = await read_books(ListedChain(HISTORY[:2], {ESCROW: DEPOSITED - DUE + 99}))
    assert not check_books(books).holds


async def test_money_still_held_is_no_loss():
    books = await read_books(ListedChain(HISTORY[:2], {ESCROW: DEPOSITED - DUE + 100}))
    assert check_books(books).holds
    assert books.held == DEPOSITED - DUE + 100


async def test_wallets_must_move_as_the_books_say():
    accounts = {"payer": PAYER, "north": PAYEE}
    after = await read_wallets(ListedChain([], {PAYER: 1_000 - DUE, PAYEE: DUE}), accounts)
    before = {"payer": 1_000, "north": 0}
    assert all(finding.holds for finding in check_wallets(before, after, BOOKS, "payer"))
    robbed = after | {"payer": after["payer"] - 1}
    assert [f.holds for f in check_wallets(before, robbed, BOOKS, "payer")] == [False, True]
    unpaid = after | {"north": DUE - 1}
    assert [f.holds for f in check_wallets(before, unpaid, BOOKS, "payer")] == [True, False]


def test_an_honest_receipt_passes():
    assert holds(receipt()) == [True, True, True]


def test_a_report_signed_by_somebody_else_fails():
    assert holds(receipt(report_of=Signer.from_seed(b"\x09" * 32)))[0] is False


def test_a_report_that_is_not_the_last_fails():
    assert holds(receipt(final=False))[0] is False


def test_a_report_of_another_lease_fails():
    assert holds(receipt(lease_id=b"x" * 16))[0] is False


def test_a_voucher_for_another_payee_fails():
    other = LaneKey(payer=PAYER, payee=b"\x05" * 20, signer=SESSION.address)
    assert holds(receipt(lane=other))[0] is False


@pytest.mark.parametrize("lie", [{"amount": DUE + 1}, {"vouched": DUE + 1}, {"gpu_ms": GPU_MS - 1000}])
def test_a_wrong_amount_fails(lie: dict[str, int]):
    assert holds(receipt(**lie))[1] is False


def test_a_receipt_the_chain_does_not_know_fails():
    assert holds(receipt(), msgspec.structs.replace(BOOKS, paid=DUE - 1, held=1))[2] is False


@pytest.mark.parametrize("part", ["lease", "report", "voucher"])
def test_altered_evidence_fails(part: str):
    forged = receipt()
    raw = bytearray(bytes.fromhex(forged["evidence"][part]))
    raw[-1] ^= 1
    forged["evidence"][part] = raw.hex()
    assert not all(holds(forged))


def test_a_promise_is_a_voucher_for_all_that_was_used():
    assert check_promise(receipt(), DOMAIN.chain_id, ESCROW).holds
    assert not check_promise(receipt(vouched=DUE - 1), DOMAIN.chain_id, ESCROW).holds
    assert not check_promise(receipt(), DOMAIN.chain_id + 1, ESCROW).holds


@pytest.mark.parametrize(
    ("transactions", "good"),
    [
        ([(1, 1), (2, 2)], True),
        ([], False),
        ([(1, 1), (2, 3)], False),
        ([(9, 9)], False),
        ([(77, 1)], False),
    ],
)
async def test_transactions_must_be_mined_where_the_receipt_says(transactions: list[tuple[int, int]], good: bool):
    named = [{"purpose": "deposit", "hash": (bytes([n]) * 32).hex(), "block": block} for n, block in transactions]
    assert (await check_transactions(ListedChain([], {}), {"transactions": named})).holds is good


def test_a_missing_or_made_up_model_fails(tmp_path: Path):
    assert [f.holds for f in check_model(tmp_path / "model.json", EXAMPLE)] == [False]
    made_up = tmp_path / "made-up.json"
    made_up.write_text(
        json.dumps({"accuracy": 0.99, "seed": 7, "hidden": [[0.0] * 65] * 32, "output": [[0.0] * 33] * 10})
    )
    assert [f.holds for f in check_model(made_up, EXAMPLE)] == [False, False]
