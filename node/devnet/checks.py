"""What the demo proves at its end, from the chain and from signed originals, trusting no node's word.

Each check returns :class:`Finding` values: what was compared, with the figures, and whether it held. None of them
changes anything.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from ledger.ports import ChainHead, LedgerEvent, Transaction
from ledger.voucher import Domain, check_voucher, decode_voucher
from market.errors import PeerFault
from market.money import amount_due, format_hourly, format_tokens
from market.records import Award, Lease, UsageReport
from market.signing import Verified, verify

MIN_ACCURACY = 0.93
_EVALUATE_TIMEOUT_S = 60


class Reader(Protocol):
    """What the checks ask of the chain; an account is not needed."""

    @property
    def chain_id(self) -> int: ...
    @property
    def escrow(self) -> bytes: ...
    async def head(self) -> ChainHead: ...
    async def token_balance(self, account: bytes) -> int: ...
    async def transaction(self, transaction: bytes) -> Transaction | None: ...
    async def events(self, from_block: int, to_block: int) -> list[LedgerEvent]: ...


class Finding(Struct, frozen=True):
    """One thing that was checked."""

    holds: bool
    text: str

    def __str__(self) -> str:
        return f"{'✔' if self.holds else '✘'} {self.text}"


class Books(Struct, frozen=True, kw_only=True):
    """Every movement of an escrow, from its whole log, beside the tokens it holds. Amounts in token units."""

    deposited: int
    paid: int
    refunded: int
    held: int

    @property
    def balanced(self) -> bool:
        """Whether all that went in is accounted for."""
        return self.deposited == self.paid + self.refunded + self.held


async def read_books(reader: Reader) -> Books:
    """Add up the escrow's log from its first block to the newest.

    Raises:
        Unavailable: the chain does not answer.
    """
    sums: Counter[str] = Counter()
    for event in await reader.events(0, (await reader.head()).number):
        for name in _AMOUNTS.get(event.kind, ()):
            sums[f"{event.kind}.{name}"] += int(str(event.arguments[name]))
    return Books(
        deposited=sums["Deposited.amount"],
        paid=sums["Redeemed.paid"] + sums["LaneClosed.toProvider"],
        refunded=sums["LaneClosed.toPayer"] + sums["Released.toPayer"],
        held=await reader.token_balance(reader.escrow),
    )


async def read_wallets(reader: Reader, accounts: Mapping[str, bytes]) -> dict[str, int]:
    """Token balance of each account, by the name of its owner."""
    return {name: await reader.token_balance(account) for name, account in accounts.items()}


def check_books(books: Books) -> Finding:
    """Nothing was lost and nothing was made: deposited = paid + refunded + held."""
    return Finding(
        books.balanced,
        f"chain: deposited {format_tokens(books.deposited)} = paid {format_tokens(books.paid)}"
        f" + refunded {format_tokens(books.refunded)} + still held {format_tokens(books.held)}",
    )


def check_wallets(before: Mapping[str, int], after: Mapping[str, int], books: Books, payer: str) -> list[Finding]:
    """The payer is poorer by what it paid and what is held; the others are richer by what was paid, all together."""
    spent = before[payer] - after[payer]
    gains = {name: after[name] - before[name] for name in before if name != payer}
    earned = ", ".join(f"{name} +{format_tokens(gain)}" for name, gain in gains.items() if gain) or "nobody anything"
    return [
        Finding(spent == books.paid + books.held, f"wallets: {payer} is poorer by {format_tokens(spent)}"),
        Finding(sum(gains.values()) == books.paid and min(gains.values()) >= 0, f"wallets: {earned}"),
    ]


async def check_transactions(reader: Reader, receipt: Mapping[str, Any]) -> Finding:
    """Every transaction the receipt names was mined, succeeded, and stands in the block the receipt says."""
    named = receipt["transactions"]
    mined = [await reader.transaction(bytes.fromhex(item["hash"].removeprefix("0x"))) for item in named]
    good = [
        found is not None and found.succeeded and found.block == item["block"]
        for found, item in zip(mined, named, strict=True)
    ]
    purposes = ", ".join(f"{item['purpose']} in block {item['block']}" for item in named) or "none"
    return Finding(bool(good) and all(good), f"chain: the receipt's transactions are confirmed ({purposes})")


def check_receipt(receipt: Mapping[str, Any], reader: Reader, books: Books) -> list[Finding]:
    """Recompute the receipt from its signed originals: who signed, how long, at which price, for how much."""
    evidence = {name: bytes.fromhex(value) for name, value in receipt["evidence"].items()}
    try:
        lease = verify(evidence["lease"], Lease)
        award = verify(lease.record.award, Award)
        report = verify(evidence["report"], UsageReport)
        voucher = decode_voucher(evidence["voucher"])
        check_voucher(Domain(reader.chain_id, reader.escrow), voucher)
    except PeerFault as fault:
        return [Finding(False, f"receipt: {fault.message}")]
    terms, usage = award.record, report.record
    due = amount_due(terms.price, usage.gpu_ms)
    claimed = (receipt["paid"]["units"], receipt["refunded"]["units"], receipt["deposited"]["units"])
    return [
        Finding(
            _same_deal(lease, award, report)
            and (voucher.lane.payer, voucher.lane.payee, voucher.lane.signer)
            == (terms.payer, terms.payee, terms.signer),
            "receipt: signed by the provider (lease, usage) and by the payer (award, voucher), all for one lease",
        ),
        Finding(
            usage.amount == due == voucher.cumulative == receipt["amount"]["units"],
            f"receipt: {usage.gpu_ms / 1000:.3f} s at {format_hourly(terms.price)} = {format_tokens(due)}"
            f", vouched for {format_tokens(voucher.cumulative)}",
        ),
        Finding(
            claimed == (books.paid, books.refunded, books.deposited) and books.paid == due,
            f"receipt and chain agree: paid {format_tokens(claimed[0])}, refunded {format_tokens(claimed[1])}",
        ),
    ]


def check_promise(receipt: Mapping[str, Any], chain_id: int, escrow: bytes) -> Finding:
    """The newest voucher is one that the escrow will honour as soon as there is a chain to ask."""
    voucher = decode_voucher(bytes.fromhex(receipt["evidence"]["voucher"]))
    try:
        check_voucher(Domain(chain_id, escrow), voucher)
    except PeerFault as fault:
        return Finding(False, f"promises: {fault.message}")
    return Finding(
        voucher.cumulative == receipt["amount"]["units"],
        f"promises: the provider holds a signed voucher for {format_tokens(voucher.cumulative)}, all that was used",
    )


def check_model(model: Path, example: Path) -> list[Finding]:
    """The output file is a model of the shipped data, and its accuracy follows from its weights."""
    try:
        content = model.read_bytes()
        claimed = json.loads(content)
    except (OSError, ValueError) as error:
        return [Finding(False, f"output: {model.name} cannot be read ({type(error).__name__})")]
    data = hashlib.sha256((example / "digits.csv.gz").read_bytes()).hexdigest()
    command = [sys.executable, str(example / "train.py"), "--evaluate", str(model)]
    measured = subprocess.run(command, capture_output=True, text=True, timeout=_EVALUATE_TIMEOUT_S, check=False)
    accuracy = float(claimed.get("accuracy", 0))
    return [
        Finding(
            claimed.get("data_sha256") == data,
            f"output: {model.name}, {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:16]}…"
            ", made from the shipped data",
        ),
        Finding(
            accuracy >= MIN_ACCURACY and f"{accuracy:.2%}" in measured.stdout,
            f"output: the model was measured again and is right on {accuracy:.2%} of the held-out images",
        ),
    ]


def _same_deal(lease: Verified[Lease], award: Verified[Award], report: Verified[UsageReport]) -> bool:
    return (
        lease.signer == report.signer == award.record.provider
        and report.record.lease_id == lease.record.lease_id
        and report.record.final
    )


_AMOUNTS = {
    "Deposited": ("amount",),
    "Redeemed": ("paid",),
    "Released": ("toPayer",),
    "LaneClosed": ("toProvider", "toPayer"),
}
