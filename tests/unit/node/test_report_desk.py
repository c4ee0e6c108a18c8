"""The desk where a requester's money leaves its hands: every report judged, each paid once, nothing paid unasked."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from ledger.payer import Payer
from ledger.statement import with_account_signature
from ledger.voucher import Domain, SessionKey, check_voucher, decode_voucher
from market import codec, money
from market.duties import Role
from market.errors import PeerFault, Unavailable
from market.lease import CancelRequested, DeadlinePassed, LaneFunded, SettlementConfirmed, Stage
from market.records import ExitReason, ReceiptRefusal, UsageReport
from market.signing import Verified, verify
from node import wire
from node.lease_board import LeaseBoard, load_board
from node.report_desk import ReportDesk
from tests.fakes.desks import RecordingNetwork, a_board
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import BUYER, PAYEE, PAYEE_KEY, SELLER, a_report, a_signer
from tests.simulation.marketplace import SimulatedClock

PRICE = 100_000
MALLORY = a_signer("mallory")


class Desk:
    """A report desk with one funded lease, a payer over a simulated chain, and the provider's side of the talk."""

    def __init__(self, board: LeaseBoard, payer: Payer, network: RecordingNetwork, journal: MemoryJournal) -> None:
        self.board, self.payer, self.network, self.journal = board, payer, network, journal
        self.clock = SimulatedClock()
        self.reports = ReportDesk({board.lease_id: board}, signer=BUYER, payer=payer, network=network, clock=self.clock)
        self.reports.register()

    def report(self, gpu_ms: int, /, **changes: Any) -> Verified[UsageReport]:
        """The next report of the chain."""
        now, due = self.clock.now_ms(), money.amount_due(PRICE, gpu_ms)
        before = changes.get("lane_before", sum(lane.signed for lane in self.payer.summary()))
        plain = a_report(
            lease_id=self.board.lease_id,
            sequence=self.board.chain.sequence + 1,
            previous=self.board.chain.head,
            measured_at=now,
            started_at=now,
            gpu_ms=gpu_ms,
            amount=due,
            price=PRICE,
            lane_before=before,
            lane_after=before + due - self.board.state.paid,
            fencing=self.board.lease.record.fencing,
        )
        return SELLER.sign(self.stated(replace(plain, **changes)))

    def stated(self, report: UsageReport) -> UsageReport:
        """The report with the signature of the account that is paid."""
        return with_account_signature(report, self.board.domain, PAYEE_KEY.sign)

    async def send(self, report: Verified[UsageReport], peer: bytes = SELLER.key) -> Any:
        return await self.network.ask(peer, wire.PROTOCOL_REPORT, codec.pack({"report": report.raw}))

    async def refused(self, report: Verified[UsageReport], peer: bytes = SELLER.key) -> str:
        """Why a report is refused, as signed by the desk."""
        answer = await self.send(report, peer)
        refusal = verify(answer["refusal"], ReceiptRefusal)
        about = (refusal.record.lease_id, refusal.record.report, refusal.record.sequence)
        assert about == (report.record.lease_id, report.id, report.record.sequence)
        assert (refusal.signer, refusal.record.reason) == (BUYER.key, answer["refused"])
        return refusal.record.reason

    async def fund(self) -> None:
        await self.payer.reserve(self.board.lease_id, PAYEE, self.board.state.cap)
        await self.payer.ensure_funded(self.board.lease_id)
        await self.board.record(LaneFunded(at=self.clock.now_ms(), amount=self.board.state.cap))


async def open_desk(*, funded: bool = True, granted: bool = True) -> Desk:
    clock, journal = SimulatedClock(), MemoryJournal()
    chain, key, wallet = MemoryChain(clock), SessionKey(b"k" * 32), SessionKey(b"w" * 32)
    chain.mint(wallet.address, 10**9)
    chain.give_gas(wallet.address)
    payer = Payer(chain.view(wallet.address), journal, key, clock.now_ms)
    await payer.load()
    board = await a_board(
        journal,
        Role.REQUESTER,
        now=clock.now_ms(),
        granted=granted,
        payer=wallet.address,
        signer=key.address,
        payee=PAYEE,
        chain_id=chain.domain.chain_id,
        escrow=chain.domain.escrow,
    )
    desk = Desk(board, payer, RecordingNetwork(BUYER.key), journal)
    if funded:
        await desk.fund()
    return desk


async def test_an_honest_report_is_answered_with_a_voucher(autojump_clock: MockClock):
    desk = await open_desk()
    await desk.send(desk.report(0))
    assert desk.board.state.stage is Stage.RUNNING
    await trio.sleep(5)
    answer = await desk.send(desk.report(5_000))
    voucher = decode_voucher(answer["voucher"])
    check_voucher(desk.board.domain, voucher)
    assert (voucher.lane, voucher.cumulative) == (desk.board.lane, money.amount_due(PRICE, 5_000))
    state = desk.board.state
    assert (state.sequence, state.gpu_ms, state.paid) == (2, 5_000, money.amount_due(PRICE, 5_000))


async def test_the_same_report_gets_the_same_voucher_and_is_counted_once(autojump_clock: MockClock):
    desk = await open_desk()
    report = desk.report(1_000)
    first = await desk.send(report)
    before = len(await desk.journal.read(desk.board.stream))
    await trio.sleep(3)
    assert await desk.send(report) == first
    assert len(await desk.journal.read(desk.board.stream)) == before
    assert desk.board.chain.sequence == 1


async def test_one_report_that_arrives_many_times_at_once_is_paid_once(autojump_clock: MockClock):
    desk = await open_desk()
    report, answers = desk.report(1_000), []

    async def send() -> None:
        answers.append(await desk.send(report))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(send)
    assert all(answer == answers[0] for answer in answers)
    written = [entry.kind for entry in await desk.journal.read(desk.board.stream)]
    assert (written.count("report_paid"), desk.board.chain.sequence) == (1, 1)
    assert desk.payer.summary()[0].signed == report.record.amount


async def test_two_different_reports_under_one_number_are_not_both_paid(autojump_clock: MockClock):
    """Equivocation: the second of the two is not the next of the chain."""
    desk = await open_desk()
    one, other = desk.report(1_000), desk.report(1_001)
    assert "voucher" in await desk.send(one)
    assert (await desk.send(other))["refused"] == "broken_chain"


async def test_a_zero_amount_is_answered_without_a_voucher(autojump_clock: MockClock):
    desk = await open_desk()
    assert await desk.send(desk.report(0)) == {"voucher": b""}


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"sequence": 2}, "broken_chain"),
        ({"previous": b"x" * 32}, "broken_chain"),
        ({"amount": 1}, "wrong_amount"),
        ({"gpu_ms": 10**9}, "over_cap"),
        ({"gpu_ms": 100_000}, "over_metered"),
        ({"lease_id": b"x" * 16}, "unknown_lease"),
        ({"price": PRICE + 1}, "wrong_price"),
        ({"price": 0}, "wrong_price"),
        ({"lane_before": 1}, "wrong_lane_sum"),
        ({"lane_after": 1}, "wrong_lane_sum"),
    ],
)
async def test_a_wrong_report_is_refused_and_nothing_is_signed(
    autojump_clock: MockClock, changes: dict[str, Any], refusal: str
):
    desk, changes = await open_desk(), dict(changes)
    assert (await desk.send(desk.report(changes.pop("gpu_ms", 0), **changes)))["refused"] == refusal
    assert desk.board.newest_paid is None
    assert desk.payer.summary()[0].signed == 0


async def test_nothing_is_paid_for_what_never_started(autojump_clock: MockClock):
    desk = await open_desk()
    assert await desk.refused(desk.report(1_000, started_at=0)) == "over_metered"
    assert desk.payer.summary()[0].signed == 0


async def test_nothing_is_paid_before_the_lane_is_funded(autojump_clock: MockClock):
    desk = await open_desk(funded=False)
    assert await desk.refused(desk.report(0)) == "not_funded"


async def test_a_report_signed_by_another_node_is_a_fault(autojump_clock: MockClock):
    desk = await open_desk()
    with pytest.raises(PeerFault) as fault:
        await desk.send(desk.report(0), peer=MALLORY.key)
    assert fault.value.code == "wrong_author"


async def test_a_stranger_with_a_signature_of_its_own_is_told_nothing(autojump_clock: MockClock):
    desk = await open_desk()
    report = MALLORY.sign(replace(desk.report(0).record, provider=MALLORY.key))
    assert await desk.refused(report, peer=MALLORY.key) == "unknown_lease"
    assert desk.board.state.stage is Stage.FUNDED


@pytest.mark.parametrize("stage", ["settling", "settled", "lapsed"])
async def test_a_lease_that_is_settling_or_over_pays_nothing_more(autojump_clock: MockClock, stage: str):
    desk = await open_desk(funded=stage != "lapsed")
    now = desk.clock.now_ms()
    await desk.board.record(CancelRequested(at=now))
    await desk.board.record(DeadlinePassed(at=now))
    if stage == "settled":
        await desk.board.record(SettlementConfirmed(at=now, transaction=b"", paid=0))
    assert desk.board.state.stage == stage
    assert await desk.refused(desk.report(0)) == "lease_over"


async def test_a_final_report_waits_for_the_outputs_and_is_told_once(autojump_clock: MockClock):
    desk = await open_desk()
    await desk.send(desk.report(0))
    await trio.sleep(4)
    final = desk.report(4_000, final=True, exit_reason="ok", exit_code=0)
    for _ in range(5):
        assert await desk.refused(final) == "outputs_pending"
    kinds = [entry.kind for entry in await desk.journal.read(desk.board.stream)]
    assert kinds.count("ContainerExited") == 1
    assert desk.reports.saw_exit(desk.board.lease_id).is_set()
    desk.reports.outputs_fetched.add(desk.board.lease_id)
    assert "voucher" in await desk.send(final)
    assert desk.board.state.stage is Stage.SETTLING
    assert (desk.board.state.exit_reason, desk.board.state.exit_code) == (ExitReason.OK, 0)
    # Its answer may be lost: the same final report is answered again, a new one is not.
    assert "voucher" in await desk.send(final)


@pytest.mark.parametrize("word", ["", "because", "ok\n", "é" * 64])
async def test_an_exit_for_no_known_reason_is_a_loss(autojump_clock: MockClock, word: str):
    desk = await open_desk()
    await desk.send(desk.report(0))
    await desk.send(desk.report(0, final=True, exit_reason=word))
    assert desk.board.state.exit_reason is ExitReason.LOST


async def test_a_job_that_never_started_ends_without_pay(autojump_clock: MockClock):
    desk = await open_desk()
    desk.reports.outputs_fetched.add(desk.board.lease_id)
    answer = await desk.send(desk.report(0, started_at=0, final=True, exit_reason="image"))
    assert answer == {"voucher": b""}
    assert desk.board.state.stage is Stage.SETTLING
    assert desk.board.state.exit_reason is ExitReason.IMAGE


async def test_a_full_disk_signs_nothing_that_is_not_written_down(autojump_clock: MockClock):
    desk = await open_desk()
    desk.journal.full = True
    with pytest.raises(Unavailable):
        await desk.send(desk.report(1_000))
    assert desk.board.newest_paid is None
    desk.journal.full = False
    assert "voucher" in await desk.send(desk.report(1_000))


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\x80",
        b"\xc1",
        *(codec.pack(value) for value in (None, 5, True, "x", b"x", [], [5], {"report": None}, {"report": 5})),
        *(codec.pack({"report": value}) for value in (True, "x", b"", b"\x80", [], {}, -1, [b"x"])),
    ],
)
async def test_a_malformed_report_is_a_fault_and_nothing_else(autojump_clock: MockClock, request_: bytes):
    desk = await open_desk(funded=False)
    with pytest.raises(PeerFault):
        await desk.network.handlers[wire.PROTOCOL_REPORT](SELLER.key, request_)


async def test_what_is_over_is_forgotten(autojump_clock: MockClock):
    desk = await open_desk(funded=False)
    desk.reports.outputs_fetched.add(desk.board.lease_id)
    event = desk.reports.saw_exit(desk.board.lease_id)
    desk.reports.forget(desk.board.lease_id)
    assert desk.reports.outputs_fetched == set()
    assert desk.reports.saw_exit(desk.board.lease_id) is not event


async def test_a_receipt_that_the_account_did_not_sign_is_refused(autojump_clock: MockClock):
    desk = await open_desk()
    honest = desk.report(1_000)
    bare = SELLER.sign(replace(honest.record, account_signature=b""))
    assert await desk.refused(bare) == "unsigned_receipt"
    for elsewhere in (Domain(1, desk.board.domain.escrow), Domain(desk.board.domain.chain_id, b"E" * 20)):
        other = SELLER.sign(with_account_signature(bare.record, elsewhere, PAYEE_KEY.sign))
        assert await desk.refused(other) == "wrong_account"
    stranger = SELLER.sign(with_account_signature(bare.record, desk.board.domain, SessionKey(b"z" * 32).sign))
    assert await desk.refused(stranger) == "wrong_account"
    moved = SELLER.sign(replace(honest.record, cpu_ms=honest.record.cpu_ms + 1))
    assert await desk.refused(moved) == "wrong_account"
    assert desk.payer.summary()[0].signed == 0
    assert "voucher" in await desk.send(honest)


async def test_a_lease_of_before_there_were_receipts_is_paid_as_it_was_agreed(autojump_clock: MockClock):
    desk = await open_desk(granted=False)
    old = SELLER.sign(replace(desk.report(1_000).record, price=0, lane_before=0, lane_after=0, account_signature=b""))
    assert "voucher" in await desk.send(old)


async def test_an_older_receipt_after_a_newer_one_and_the_same_number_twice_move_nothing(autojump_clock: MockClock):
    desk = await open_desk()
    first = desk.report(1_000)
    await desk.send(first)
    await trio.sleep(5)
    second = desk.report(5_000)
    twin = desk.report(5_001)
    answer = await desk.send(second)
    signed = desk.payer.summary()[0].signed
    assert await desk.refused(first) == "broken_chain"
    assert await desk.refused(twin) == "broken_chain"
    assert await desk.send(second) == answer
    assert desk.payer.summary()[0].signed == signed == second.record.amount


async def test_a_refused_receipt_is_kept_with_its_signed_answer_over_a_crash(autojump_clock: MockClock):
    desk = await open_desk()
    twice = desk.report(0, price=PRICE + 1)
    answers = []
    for _ in range(3):
        answers.append(await desk.send(twice))
        await trio.sleep(1)
    assert answers[0] == answers[1] == answers[2]
    again = await load_board(desk.journal.crash(), desk.board.stream)
    (refusal,) = again.refusals.values()
    assert refusal.raw == answers[0]["refusal"]
    assert (refusal.record.expected, refusal.record.found) == (str(PRICE), str(PRICE + 1))


async def test_what_another_lease_was_paid_on_the_lane_meanwhile_is_no_reason_to_refuse(autojump_clock: MockClock):
    """The provider wrote its receipt before the other voucher reached it."""
    desk = await open_desk()
    early = desk.report(1_000)
    other = b"o" * 16
    await desk.payer.reserve(other, PAYEE, 1_000)
    await desk.payer.ensure_funded(other)
    await desk.payer.acknowledge(other, 700)
    voucher = decode_voucher((await desk.send(early))["voucher"])
    assert voucher.cumulative == 700 + early.record.amount
    await trio.sleep(5)
    assert await desk.refused(desk.report(2_000, lane_before=700)) == "wrong_lane_sum"
    assert await desk.refused(desk.report(2_000, lane_after=voucher.cumulative)) == "wrong_lane_sum"
    assert await desk.refused(desk.report(2_000, lane_before=voucher.cumulative + 1)) == "wrong_lane_sum"
    assert "voucher" in await desk.send(desk.report(2_000))


async def test_a_deposit_that_does_not_cover_it_is_a_refusal_and_not_a_fault(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
):
    async def short(_lease_id: bytes, _amount: int) -> Any:
        raise PeerFault("asks 5, of which 4 is covered", code="over_balance")

    desk = await open_desk()
    monkeypatch.setattr(desk.payer, "acknowledge", short)
    assert await desk.refused(desk.report(1_000)) == "over_balance"


async def test_a_receipt_of_another_lease_under_the_same_id_is_refused(autojump_clock: MockClock):
    """Else a provider could tell each of two stories under a number of its own, and they would contradict nothing."""
    desk = await open_desk()
    number = desk.board.lease.record.fencing
    assert await desk.refused(desk.report(1_000, fencing=number + 1)) == "wrong_lease"
    assert await desk.refused(desk.report(1_000, fencing=0)) == "wrong_lease"
    assert "voucher" in await desk.send(desk.report(1_000))


async def test_the_receipt_of_another_job_pays_for_nothing_here(autojump_clock: MockClock):
    """Also with our lease's name put on it: the account signed it for the other."""
    desk = await open_desk()
    other = desk.report(1_000, lease_id=b"o" * 16)
    assert await desk.refused(other) == "unknown_lease"
    relabelled = SELLER.sign(replace(other.record, lease_id=desk.board.lease_id))
    assert await desk.refused(relabelled) == "wrong_account"
    assert desk.payer.summary()[0].signed == 0


@pytest.mark.parametrize("value", [2**63 - 1, 2**53])
async def test_numbers_at_their_bounds_are_refused_like_others(autojump_clock: MockClock, value: int):
    desk = await open_desk()
    for field in ("amount", "lane_before", "lane_after"):
        assert await desk.refused(desk.report(0, **{field: value})) in ("wrong_amount", "wrong_lane_sum")
    assert await desk.refused(desk.report(2**53)) == "over_cap"
    assert desk.payer.summary()[0].signed == 0
