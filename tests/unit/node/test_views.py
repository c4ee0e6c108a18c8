"""What the API shows: plain data that JSON can hold, derived from records and history alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ledger.endpoint_health import EndpointState
from ledger.evm_chain import ChainHealth
from ledger.evm_flights import SendingView
from ledger.evm_rpc import EndpointView
from ledger.lane import LaneSummary
from ledger.ports import LaneKey
from ledger.voucher import encode_voucher, sign_voucher
from market.duties import Role
from market.errors import InvalidRequest
from market.lease import ContainerExited, ContainerStarted, LaneFunded
from market.records import ExitReason
from market.usage import receipt_id, write_report
from node import views
from node.job_file.request import JobRequest
from node.job_journal import LEASED, SUBMITTED, Submitted, history, job_entry
from node.job_outcome import describe_lease
from node.lease_board import LeaseBoard, PaidReport, payment_fact
from tests.fakes.desks import a_board
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import NOW, SALT, SELLER, SESSION_KEY, SPEC, an_offer

OFFER = SELLER.sign(an_offer())
SUBMISSION = Submitted(request=JobRequest(name="job", spec=SPEC, max_price=1, max_total=1), spec=SPEC, salt=SALT)


def shown(**changes: Any) -> Any:
    return views.offer_view(SELLER.sign(an_offer(**changes)), free_slots=1, mine=False)


def test_an_offer_is_shown_as_json_can_hold_it():
    view = views.offer_view(OFFER, free_slots=1, mine=True)
    assert json.loads(json.dumps(view)) == view
    assert (view["free_slots"], view["total_slots"], view["mine"]) == (1, 2, True)
    assert view["offer"] == OFFER.id.hex()
    assert view["price"] == {"hourly": "0.3600/h", "nano_per_gpu_second": 100_000}


@pytest.mark.parametrize(
    ("query", "passes"),
    [
        ({}, True),
        ({"gpu": "rtx"}, True),
        ({"gpu": "h100"}, False),
        ({"region": "eu"}, True),
        ({"region": "us"}, False),
        ({"min_vram_mib": 24_000}, True),
        ({"min_vram_mib": 24_001}, False),
        ({"max_price": "0.36/h"}, True),
        ({"max_price": "0.3599/h"}, False),
        ({"free": True}, True),
        ({"simulated": False}, True),
    ],
)
def test_filters_of_offers(query: dict[str, Any], passes: bool):
    assert views.wanted(shown(), query) is passes


def test_taken_and_simulated_offers_can_be_hidden():
    taken = views.offer_view(OFFER, free_slots=0, mine=False)
    assert not views.wanted(taken, {"free": True})
    assert not views.wanted(shown(simulated=True), {"simulated": False})
    assert views.wanted(shown(simulated=True), {"simulated": True})


def test_a_price_that_is_none_is_explained():
    with pytest.raises(InvalidRequest):
        views.wanted(shown(), {"max_price": "cheap"})


async def a_history(journal: MemoryJournal) -> LeaseBoard:
    await journal.append([job_entry("j", SUBMITTED, NOW, {})])
    board = await a_board(journal, Role.REQUESTER, job_id="j")
    await journal.append([job_entry("j", LEASED, NOW, describe_lease(board.lease, gpu="H100"))])
    return board


async def paid(board: LeaseBoard, now: int, *, final: bool = False) -> PaidReport:
    record = write_report(
        board.state, provider=SELLER.key, lease_id=board.lease_id, chain=board.chain, now=now, final=final
    )
    one = PaidReport(
        report=SELLER.sign(record).raw,
        row=encode_voucher(sign_voucher(SESSION_KEY, board.domain, board.lane, record.amount)),
    )
    assert await board.record(payment_fact(record, now), paid=one)
    return one


async def test_a_queued_job_shows_nothing_it_does_not_know():
    journal = MemoryJournal()
    await journal.append([job_entry("j", SUBMITTED, NOW, {})])
    view = views.job_view("j", SUBMISSION, await history(journal, "j"), None)
    assert json.loads(json.dumps(view)) == view
    assert (view["state"], view["gpu"], view["spent"]["units"], view["outputs"]) == ("queued", "any", 0, [])
    for name in ("provider", "lease", "started_at", "finished_at", "exit_code", "exit_reason", "error", "receipt"):
        assert view[name] is None, name


async def test_a_finished_job_shows_everything():
    journal = MemoryJournal()
    board = await a_history(journal)
    await board.record(LaneFunded(at=NOW, amount=1))
    await board.record(ContainerStarted(at=NOW + 10, started_at=NOW + 5))
    await paid(board, NOW + 5_000)
    await board.record(ContainerExited(at=NOW + 9_000, reason=ExitReason.ERROR, exit_code=3, finished_at=NOW + 9_000))
    newest = await paid(board, NOW + 9_500, final=True)
    await journal.append(
        [job_entry("j", "failed", NOW + 9_900, {"code": "exit", "message": "m", "fix": "f", "retryable": False})]
    )
    view = views.job_view("j", SUBMISSION, await history(journal, "j"), board)
    assert json.loads(json.dumps(view)) == view
    assert (view["state"], view["exit_code"], view["exit_reason"], view["gpu"]) == ("failed", 3, "error", "H100")
    assert view["error"] == {"code": "exit", "message": "m", "fix": "f", "retryable": False}
    assert view["spent"]["units"] == board.state.paid > 0
    assert view["receipt"] == receipt_id(board.chain.head, newest.row).hex()
    assert view["started_at"] < view["finished_at"]


async def test_an_exit_without_a_code_shows_none():
    journal = MemoryJournal()
    board = await a_history(journal)
    await board.record(LaneFunded(at=NOW, amount=1))
    await board.record(ContainerExited(at=NOW, reason=ExitReason.IMAGE, exit_code=-1))
    view = views.job_view("j", SUBMISSION, await history(journal, "j"), board)
    assert (view["exit_code"], view["exit_reason"]) == (None, "image")


async def test_a_receipt_without_a_payment_says_so():
    view = views.receipt_view(await a_board(MemoryJournal()), "j")
    assert json.loads(json.dumps(view)) == view
    assert (view["receipt"], view["gpu_ms"], view["amount"]["units"], view["settled"]) == ("", 0, 0, False)


async def test_a_receipt_carries_the_signed_originals():
    board = await a_board(MemoryJournal())
    await board.record(LaneFunded(at=NOW, amount=1))
    await board.record(ContainerStarted(at=NOW, started_at=NOW))
    newest = await paid(board, NOW + 5_000)
    view = views.receipt_view(board, "j", gpu="H100")
    assert view["evidence"] == {
        "lease": board.lease.raw.hex(),
        "report": newest.report.hex(),
        "voucher": newest.row.hex(),
    }
    assert (view["gpu"], view["gpu_ms"], view["amount"]["units"]) == ("H100", 5_000, board.state.paid)


def a_lane(**changes: int) -> LaneSummary:
    plain = {"balance": 10, "claimed": 2, "held": 8, "signed": 5, "reserved": 1, "free": 4, "exit_at": 0}
    lane = LaneKey(payer=b"a" * 20, payee=b"b" * 20, signer=b"c" * 20)
    return LaneSummary(lane=lane, open_leases=0, seen_at_ms=NOW, **(plain | changes))


def test_a_lane_shows_what_is_left():
    view = views.lane_view(a_lane())
    assert json.loads(json.dumps(view)) == view
    assert (view["available"]["units"], view["exit_at"]) == (4, None)
    assert views.lane_view(a_lane(free=-3))["available"]["units"] == 0
    assert views.lane_view(a_lane(exit_at=NOW // 1000))["exit_at"] == "2027-01-15T08:00:00.000Z"


async def test_a_sold_lease_is_one_line():
    board = await a_board(MemoryJournal())
    line = views.lease_line(board)
    assert json.loads(json.dumps(line)) == line
    assert (line["stage"], line["slots"], line["image"]) == ("granted", [0], SPEC.image)


def test_the_way_to_the_chain_is_shown_and_may_be_unknown():
    health = ChainHealth(
        endpoints=(EndpointView(name="http://a", state=EndpointState.RESTING, head=7, note="3 faults"),),
        disputes=1,
        last_dispute="the lane",
        sending=SendingView(unmined=2, waiting="gas"),
    )
    way = views.chain_way(health)
    assert json.loads(json.dumps(way)) == way
    assert way["endpoints"] == [{"name": "http://a", "state": "resting", "head": 7, "note": "3 faults"}]
    assert (way["disputes"], way["dispute"], way["unmined"], way["waiting"]) == (1, "the lane", 2, "gas")
    assert views.chain_way(None)["endpoints"] == []
