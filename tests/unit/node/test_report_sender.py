"""The provider's half of a payment: what it writes down, sends again as it was, believes, and takes as the end."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from ledger.payee import Payee
from ledger.statement import check_statement
from ledger.voucher import SessionKey, encode_voucher, sign_voucher
from market import codec
from market.lease import ContainerStarted, LaneFunded, Stage
from market.records import ExitReason, UsageReport
from market.signing import Signer, Verified, verify
from market.statements import read_receipt
from market.usage import ReportRefusal
from node.lease_board import LeaseBoard, load_board
from node.ports import PeerUnreachable
from node.report_sender import ReportSender
from tests.fakes.desks import RecordingNetwork, a_board
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_engine import MemoryDocker, MemoryEngine
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import BUYER, PAYEE, PAYEE_KEY, SELLER, a_receipt_refusal, a_signer
from tests.simulation.marketplace import SimulatedClock

BUYERS_KEY = SessionKey(b"k" * 32)
BUYERS_WALLET = SessionKey(b"w" * 32)


class Bench:
    """A sender with one running, funded lease; ``answer`` says what the requester replies to a report."""

    def __init__(self, board: LeaseBoard, payee: Payee, journal: MemoryJournal, clock: SimulatedClock) -> None:
        self.board, self.payee, self.journal, self.clock = board, payee, journal, clock
        self.network = RecordingNetwork(SELLER.key)
        self.seen: list[Verified[UsageReport]] = []
        self.answer: Any = self.pay
        self.network.answer = self._answer
        self.sender = ReportSender(
            signer=SELLER,
            wallet=PAYEE_KEY,
            network=self.network,
            engine=MemoryEngine(MemoryDocker(clock.now_ms), "node"),
            payee=payee,
            clock=clock,
        )

    def _answer(self, _peer: bytes, _protocol: str, request: bytes) -> bytes:
        report = verify(codec.unpack(request)["report"], UsageReport)
        self.seen.append(report)
        return codec.pack(self.answer(report))

    def pay(self, report: Verified[UsageReport]) -> Any:
        row = b""
        if report.record.amount:
            voucher = sign_voucher(BUYERS_KEY, self.board.domain, self.board.lane, report.record.lane_after)
            row = encode_voucher(voucher)
        return {"voucher": row}

    def refuse(self, reason: str, signer: Signer = BUYER, **changes: Any) -> Any:
        def answer(report: Verified[UsageReport]) -> Any:
            record = a_receipt_refusal(
                requester=signer.key, lease_id=self.board.lease_id, report=report.id,
                sequence=report.record.sequence, reason=reason,
            )  # fmt: skip
            return {"refused": reason, "refusal": signer.sign(replace(record, **changes)).raw}

        return answer


async def a_bench() -> Bench:
    clock, journal = SimulatedClock(), MemoryJournal()
    chain = MemoryChain(clock)
    chain.mint(BUYERS_WALLET.address, 10**9)
    chain.give_gas(BUYERS_WALLET.address)
    board = await a_board(
        journal,
        now=clock.now_ms(),
        payer=BUYERS_WALLET.address,
        signer=BUYERS_KEY.address,
        chain_id=chain.domain.chain_id,
        escrow=chain.domain.escrow,
    )
    payee = Payee(chain.view(PAYEE), journal, PAYEE_KEY, clock.now_ms, confirmations=0)
    await payee.load()
    await chain.view(BUYERS_WALLET.address).deposit(PAYEE, BUYERS_KEY.address, board.state.cap)
    assert await payee.admit(board.lease_id, board.lane, cap=board.state.cap)
    now = clock.now_ms()
    await board.record(LaneFunded(at=now, amount=board.state.cap))
    await board.record(ContainerStarted(at=now, started_at=now))
    return Bench(board, payee, journal, clock)


async def test_a_report_is_a_receipt_that_names_price_and_lane_and_bears_the_account_s_signature(
    autojump_clock: MockClock,
) -> None:
    bench = await a_bench()
    for _ in range(3):
        await trio.sleep(5)
        assert await bench.sender.send(bench.board, final=False)
    before = 0
    for report in bench.seen:
        record = report.record
        assert (record.price, record.lane_before) == (bench.board.state.price, before)
        assert record.lane_after == before + record.amount - before
        check_statement(bench.board.domain, PAYEE, read_receipt(report))
        before = record.lane_after
    assert bench.payee.owed_cumulative(bench.board.lane) == before == bench.board.state.paid > 0


async def test_what_was_written_is_sent_again_as_it_was_also_after_a_crash(autojump_clock: MockClock) -> None:
    bench = await a_bench()
    bench.answer = lambda _report: {}
    assert not await bench.sender.send(bench.board, final=False)
    await trio.sleep(7)
    again = await load_board(bench.journal.crash(), bench.board.stream)
    assert not await bench.sender.send(again, final=False)
    assert bench.seen[0].raw == bench.seen[1].raw


@pytest.mark.parametrize("reason", [reason for reason in ReportRefusal if reason.passes])
async def test_a_refusal_that_may_pass_is_kept_and_waited_out(autojump_clock: MockClock, reason: str) -> None:
    bench = await a_bench()
    bench.answer = bench.refuse(str(reason))
    for _ in range(3):
        assert not await bench.sender.send(bench.board, final=False)
    assert bench.board.state.stage is Stage.RUNNING
    assert [key[1] for key in bench.board.refusals] == [str(reason)]
    bench.answer = bench.pay
    assert await bench.sender.send(bench.board, final=False)


@pytest.mark.parametrize("reason", [reason for reason in ReportRefusal if not reason.passes])
async def test_a_refusal_for_good_ends_the_stage_before_more_is_given_away(
    autojump_clock: MockClock, reason: str
) -> None:
    bench = await a_bench()
    bench.answer = bench.refuse(str(reason))
    assert not await bench.sender.send(bench.board, final=False)
    assert (bench.board.state.stage, bench.board.state.exit_reason) == (Stage.ENDING, ExitReason.UNPAID)
    assert not await bench.sender.send(bench.board, final=False)
    assert bench.board.state.stage is Stage.SETTLING
    assert len(bench.seen) == 2
    again = await load_board(bench.journal.crash(), bench.board.stream)
    assert list(again.refusals) == [(bench.seen[0].id, str(reason))]


async def test_a_reason_that_only_newer_nodes_know_is_waited_out(autojump_clock: MockClock) -> None:
    bench = await a_bench()
    bench.answer = bench.refuse("full_moon")
    assert not await bench.sender.send(bench.board, final=False)
    assert bench.board.state.stage is Stage.RUNNING


@pytest.mark.parametrize(
    ("signer", "changes"),
    [
        (a_signer("mallory"), {}),
        (BUYER, {"report": b"x" * 32}),
        (BUYER, {"lease_id": b"x" * 16}),
        (BUYER, {"sequence": 2}),
    ],
    ids=["another node's", "another report's", "another lease's", "another number's"],
)
async def test_a_refusal_that_is_not_the_requester_s_of_this_report_ends_nothing(
    autojump_clock: MockClock, signer: Signer, changes: dict[str, Any]
) -> None:
    bench = await a_bench()
    bench.answer = bench.refuse("wrong_price", signer, **changes)
    assert not await bench.sender.send(bench.board, final=False)
    assert bench.board.state.stage is Stage.RUNNING
    assert bench.board.refusals == {}
    assert [code for _, code in bench.network.penalties] == ["wrong_refusal"]


async def test_a_bare_word_of_an_older_node_is_no_signed_refusal(autojump_clock: MockClock) -> None:
    bench = await a_bench()
    bench.answer = lambda _report: {"refused": "lease_over"}
    assert not await bench.sender.send(bench.board, final=False)
    assert (bench.board.state.stage, bench.board.refusals) == (Stage.RUNNING, {})


@pytest.mark.parametrize("less", [1, 10**3])
async def test_a_voucher_for_less_than_the_receipt_implies_is_not_believed(
    autojump_clock: MockClock, less: int
) -> None:
    bench = await a_bench()
    await trio.sleep(60)

    def short(report: Verified[UsageReport]) -> Any:
        voucher = sign_voucher(BUYERS_KEY, bench.board.domain, bench.board.lane, report.record.lane_after - less)
        return {"voucher": encode_voucher(voucher)}

    bench.answer = short
    assert not await bench.sender.send(bench.board, final=False)
    assert (bench.board.state.paid, bench.payee.owed_cumulative(bench.board.lane)) == (0, 0)
    assert [code for _, code in bench.network.penalties] == ["too_small"]


async def test_nobody_there_changes_nothing(autojump_clock: MockClock) -> None:
    bench = await a_bench()

    def nobody(_report: Verified[UsageReport]) -> Any:
        raise PeerUnreachable("away")

    bench.answer = nobody
    assert not await bench.sender.send(bench.board, final=False)
    assert bench.board.pending is not None
    assert bench.network.penalties == []
