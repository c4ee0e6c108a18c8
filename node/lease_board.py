"""One lease as this node knows it: its journal stream, replayed. The only writer of that stream.

A fact is durable before it is believed: :meth:`LeaseBoard.record` appends first and changes the state after. The
stream opens with an ``opened`` entry (the signed lease and the job spec) and goes on with facts and notes; reading
it back gives the same board, which is all that a restart needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import trio

from ledger.ports import Journal, JournalEntry, LaneKey, NewEntry
from ledger.voucher import Domain, decode_voucher
from market import codec
from market.duties import Role
from market.errors import BrokenInvariant
from market.lease import Fact, FinalPaymentReceived, LeaseState, PaymentReceived, is_legal, transition
from market.records import Award, JobSpec, Lease, ReceiptRefusal, UsageReport
from market.signing import Verified, digest, verify
from market.usage import ReportChain, extend

PREFIX = "lease/"
OPENED = "opened"
REPORT_SENT = "report_sent"
REPORT_PAID = "report_paid"
REPORT_REFUSED = "report_refused"
DETAIL = "detail"
KEPT_WHOLE = 4096
"""Receipts of one lease that are all kept. After them only each :data:`KEPT_EVERY`-th is, and always the newest and the
final one: a lease that ticks for weeks must not fill the disk. Amounts are cumulative, so that nothing of the bill is
lost, and the account's signature on each that is kept stands by itself; the hashes between them go."""
KEPT_EVERY = 64
MAX_REFUSALS = 32
"""Refused reports of one lease that are written down; a peer that goes on must not fill the disk."""
_FACT_DECODER = msgspec.msgpack.Decoder(Fact)


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """The first entry of a lease's stream."""

    role: Role
    lease: bytes
    spec: bytes
    salt: bytes = b""
    job_id: str = ""


class PaidReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report and the voucher that answered it: together they are a receipt. ``row`` is empty for zero amounts."""

    report: bytes
    row: bytes


class RefusedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report and the requester's signed refusal of it."""

    report: bytes
    refusal: bytes


class Newest(msgspec.Struct, frozen=True, kw_only=True):
    """The newest receipt, where it is one of those that make way for the next."""

    paid: PaidReport
    fact: Fact


def is_kept(sequence: int, *, final: bool = False) -> bool:
    """Whether the receipt of that number stays in the journal for good."""
    return sequence <= KEPT_WHOLE or final or sequence % KEPT_EVERY == 0


def lease_id_of(requester: bytes, provider: bytes, bid_id: bytes) -> bytes:
    """The lease that an award becomes. Derived, so that a repeated award meets the same lease, never a second one."""
    return digest(b"computefabric/lease/1\0", requester, provider, bid_id)[:16]


class LeaseBoard:
    """The state of one lease and the door to change it.

    Attributes:
        role: the side this node is on.
        lease, award: the signed agreement and the signed award in it.
        spec: what shall run.
        state: where the lease stands.
        chain: the reports paid so far.
        pending: provider only: a report that was signed but not answered yet. It must be sent again as it is:
            signing another with the same number would be equivocation.
        newest_paid: the newest report and its voucher; older ones are in the journal.
        refusals: signed refusals that were written down, by report and reason.
        passing: the newest receipt while it is not in the stream and makes way for the next (:data:`KEPT_WHOLE`).
        detail: the provider's own sentence about why the job ended, if it gave one.
        position: of its first entry in the journal that it was read from; 0 for one that was opened in this run.
    """

    def __init__(self, journal: Journal, opened: Opened, *, opened_at: int) -> None:
        self._journal = journal
        self._lock = trio.StrictFIFOLock()
        self._change = trio.Event()
        self.role = Role(opened.role)
        self.job_id = opened.job_id
        self.lease: Verified[Lease] = verify(opened.lease, Lease)
        self.award: Verified[Award] = verify(self.lease.record.award, Award)
        self.spec = codec.unpack_record(opened.spec, JobSpec, limit=1 << 20)
        self.lease_id = self.lease.record.lease_id
        self.stream = PREFIX + self.lease_id.hex()
        award = self.award.record
        self.state = LeaseState(
            price=award.price,
            slots=award.slots,
            max_duration_ms=award.max_duration_ms,
            terms=award.terms,
            since=opened_at,
        )
        self.funded_at = 0
        self.chain = ReportChain()
        self.pending: Verified[UsageReport] | None = None
        self.newest_paid: PaidReport | None = None
        self.refusals: dict[tuple[bytes, str], Verified[ReceiptRefusal]] = {}
        self.passing: Newest | None = None
        self.detail = ""
        self.position = 0
        self.on_change: Callable[[LeaseBoard], None] = lambda _board: None

    @property
    def lane(self) -> LaneKey:
        """The lane this lease is paid from."""
        award = self.award.record
        return LaneKey(payer=award.payer, payee=award.payee, signer=award.signer)

    @property
    def domain(self) -> Domain:
        """The signing domain of the escrow both sides agreed on."""
        award = self.award.record
        return Domain(chain_id=award.chain_id, escrow=award.escrow)

    @property
    def requester(self) -> bytes:
        """Key of the node that pays."""
        return self.award.record.requester

    @property
    def provider(self) -> bytes:
        """Key of the node that runs the job."""
        return self.lease.record.provider

    async def record(self, fact: Fact, *, paid: PaidReport | None = None) -> bool:
        """Make a fact durable, then true. False when the table has no place for it (any more): nothing was written.

        Two observers may report the same end (an exit and a deadline); the first wins, the second is told False.
        """
        async with self._lock:
            if not is_legal(self.state, fact):
                return False
            if paid is not None and isinstance(fact, PaymentReceived) and not is_kept(fact.sequence):
                await self._let_pass(Newest(paid=paid, fact=fact))
            else:
                # What was let pass so far goes before it: the stream alone must tell how this fact came about.
                before = self._entries(self.passing.fact, self.passing.paid) if self.passing else []
                written = await self._journal.append([*before, *self._entries(fact, paid)])
                for entry in written[len(before) :]:
                    self._apply(entry)
                self.passing = None
            self._announce()
            return True

    async def _let_pass(self, newest: Newest) -> None:
        await self._journal.append([], {self._passing_key: msgspec.msgpack.encode(newest)})
        self._take(newest)

    def _take(self, newest: Newest) -> None:
        self._apply_paid(newest.paid, newest.fact.at)
        self.state = transition(self.state, newest.fact)
        self.passing = newest

    async def remember_report(self, report: Verified[UsageReport], now: int) -> None:
        """Journal a report before it is sent, so that a restart sends the very same one."""
        async with self._lock:
            if is_kept(report.record.sequence, final=report.record.final):
                await self._journal.append([self._entry(REPORT_SENT, now, report.raw)])
            else:
                await self._journal.append([], {self._pending_key: report.raw})
            self.pending = report

    async def remember_refusal(
        self, report: Verified[UsageReport], refusal: Verified[ReceiptRefusal], now: int
    ) -> None:
        """Journal a refused report with its refusal: once for each reason, and :data:`MAX_REFUSALS` in all."""
        async with self._lock:
            if (report.id, refusal.record.reason) in self.refusals or len(self.refusals) >= MAX_REFUSALS:
                return
            body = msgspec.msgpack.encode(RefusedReport(report=report.raw, refusal=refusal.raw))
            for entry in await self._journal.append([self._entry(REPORT_REFUSED, now, body)]):
                self._apply(entry)

    async def note(self, kind: str, body: bytes, now: int) -> None:
        """Add something worth showing that is not a fact of the table (outputs arrived, image pulled …)."""
        async with self._lock:
            for entry in await self._journal.append([self._entry(kind, now, body)]):
                self._apply(entry)
            self._announce()

    async def wait_change(self) -> None:
        """Return when the state has changed, or anything was noted, after this call began."""
        await self._change.wait()

    def _announce(self) -> None:
        self._change.set()
        self._change = trio.Event()
        self.on_change(self)

    @property
    def _passing_key(self) -> str:
        return f"{self.stream}/newest"

    @property
    def _pending_key(self) -> str:
        return f"{self.stream}/pending"

    def _entries(self, fact: Fact, paid: PaidReport | None) -> list[NewEntry]:
        entries = [self._entry(type(fact).__name__, fact.at, msgspec.msgpack.encode(fact))]
        if paid is not None:
            entries.insert(0, self._entry(REPORT_PAID, fact.at, msgspec.msgpack.encode(paid)))
        return entries

    async def _load_passing(self) -> None:
        """What is younger than the stream: only in leases that ticked very often are there such values at all."""
        if (raw := await self._journal.get(self._passing_key)) is not None:
            newest = msgspec.msgpack.decode(raw, type=Newest)
            if isinstance(newest.fact, PaymentReceived) and newest.fact.sequence > self.chain.sequence:
                self._take(newest)
        if (raw := await self._journal.get(self._pending_key)) is not None:
            pending = verify(raw, UsageReport)
            if pending.record.sequence == self.chain.sequence + 1:
                self.pending = pending

    def _entry(self, kind: str, at: int, body: bytes) -> NewEntry:
        return NewEntry(stream=self.stream, kind=kind, at_ms=at, body=body)

    def _apply(self, entry: JournalEntry) -> None:
        if entry.kind == REPORT_SENT:
            self.pending = verify(entry.body, UsageReport)
        elif entry.kind == REPORT_PAID:
            self._apply_paid(msgspec.msgpack.decode(entry.body, type=PaidReport), entry.at_ms)
        elif entry.kind == REPORT_REFUSED:
            refusal = verify(msgspec.msgpack.decode(entry.body, type=RefusedReport).refusal, ReceiptRefusal)
            self.refusals[refusal.record.report, refusal.record.reason] = refusal
        elif entry.kind == DETAIL:
            self.detail = entry.body.decode("utf-8", "replace")
        elif (fact := decode_fact(entry)) is not None:
            self.state = transition(self.state, fact)
            if self.state.stage == "funded" and not self.funded_at:
                self.funded_at = fact.at

    def _apply_paid(self, paid: PaidReport, at: int) -> None:
        report = verify(paid.report, UsageReport)
        lane = decode_voucher(paid.row).cumulative if paid.row else 0
        self.chain = extend(self.chain, report, at, lane=lane)
        self.newest_paid = paid
        if self.pending is not None and self.pending.id == report.id:
            self.pending = None


def payment_fact(report: UsageReport, now: int) -> PaymentReceived | FinalPaymentReceived:
    """The fact that a report was answered."""
    kind = FinalPaymentReceived if report.final else PaymentReceived
    return kind(at=now, sequence=report.sequence, gpu_ms=report.gpu_ms, amount=report.amount)


def decode_fact(entry: JournalEntry) -> Fact | None:
    """The fact an entry holds, or None for notes and reports."""
    if entry.kind not in _FACT_NAMES:
        return None
    fact: Fact = _FACT_DECODER.decode(entry.body)
    return fact


async def open_board(journal: Journal, opened: Opened, *, now: int) -> LeaseBoard:
    """Start a lease's stream durably."""
    (board,) = await open_boards(journal, [opened], now=now)
    return board


async def open_boards(
    journal: Journal, openings: Sequence[Opened], *, now: int, also: Sequence[NewEntry] = ()
) -> list[LeaseBoard]:
    """Start the streams of several leases in one transaction, and ``also`` in it: after a crash there are all or none.

    Raises:
        Unavailable: the journal cannot be written; nothing was.
    """
    boards = [LeaseBoard(journal, opened, opened_at=now) for opened in openings]
    first = [
        NewEntry(stream=board.stream, kind=OPENED, at_ms=now, body=msgspec.msgpack.encode(opened))
        for board, opened in zip(boards, openings, strict=True)
    ]
    await journal.append([*first, *also])
    return boards


async def load_board(journal: Journal, stream: str) -> LeaseBoard:
    """Replay a lease's stream.

    Raises:
        BrokenInvariant: the stream does not begin with its opening entry or holds an impossible fact.
    """
    entries = await journal.read(stream)
    if not entries or entries[0].kind != OPENED:
        raise BrokenInvariant(f"journal stream {stream} does not begin with '{OPENED}'")
    opened = msgspec.msgpack.decode(entries[0].body, type=Opened)
    board = LeaseBoard(journal, opened, opened_at=entries[0].at_ms)
    board.position = entries[0].position
    for entry in entries[1:]:
        board._apply(entry)
    await board._load_passing()
    return board


_FACT_NAMES = frozenset(kind.__name__ for kind in Fact.__args__)
