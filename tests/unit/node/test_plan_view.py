"""A job's history told as an explanation, whatever is missing from it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from market.explain import why_not
from market.matching import shortlist
from market.offer_book import OfferBook
from node.control import money, price_view, rfc3339
from node.job_file.request import JobRequest
from node.plan_view import explain_view, plan_view
from tests.fakes.samples import NOW, SPEC, a_signer, an_ask, offered_by

REQUEST = JobRequest(name="job", spec=SPEC, max_price=1, max_total=1)


def candidate(rank: int, machine: str = "m0") -> dict[str, Any]:
    return {
        "rank": rank,
        "provider": f"{rank:064x}",
        "machine": machine,
        "expected_cost": money(120),
        "cost": {"compute": money(100), "image": money(10), "transfer": money(5), "risk": money(5)},
        "expected_ms": 5_000,
        "image_ms": 700,
        "transfer_ms": 20,
    }


def history(*events: dict[str, Any]) -> list[dict[str, Any]]:
    """Events a second apart."""
    return [{"seq": n, "time": rfc3339(NOW + 1000 * n), **event} for n, event in enumerate(events, 1)]


def leased(rank: int, machine: str = "m0") -> dict[str, Any]:
    return {"type": "leased", "provider": f"{rank:064x}", "machine": machine, "price": price_view(1), "cap": money(1)}


def told(*events: dict[str, Any]) -> Any:
    return explain_view("9c", REQUEST, history({"type": "queued"}, *events))


MATCHING = {"type": "matching", "offers": 3, "matches": 3, "candidates": [candidate(1), candidate(2), candidate(3)]}
REFUSED = {"type": "refused", "provider": f"{1:064x}", "reason": "no_capacity", "detail": ""}
PAID = {"type": "paid", "sequence": 1, "gpu_ms": 8_000, "amount": money(77), "final": True}


def test_the_choice_is_the_candidate_that_signed():
    view = told(MATCHING, REFUSED, leased(2))
    (auction,) = view["auctions"]
    assert (auction["chosen"], view["chosen"]["rank"]) == (2, 2)
    assert [one["reason"] for one in auction["refusals"]] == ["no_capacity"]
    assert "type" not in auction["seen"]


def test_two_machines_of_one_provider_are_told_apart():
    seen = {**MATCHING, "candidates": [candidate(1, "m0"), {**candidate(2, "m1"), "provider": f"{1:064x}"}]}
    assert told(seen, leased(1, "m1"))["chosen"]["machine"] == "m1"


def test_an_auction_that_brought_nothing_is_told_before_the_one_that_did():
    view = told(MATCHING, REFUSED, MATCHING, leased(1))
    assert [one["chosen"] for one in view["auctions"]] == [None, 1]


def test_expected_and_actual_stand_side_by_side():
    running, exited = {"type": "running", "started_at": ""}, {"type": "exited", "reason": "ok", "exit_code": 0}
    outputs = {"type": "outputs", "files": []}
    view = told(MATCHING, leased(1), running, exited, outputs, PAID, {"type": "succeeded"})
    assert view["expected"] == {"cost": money(120), "compute": money(100), "run_ms": 5_000, "fetch_ms": 720}
    assert view["actual"] == {"paid": money(77), "run_ms": 8_000, "start_ms": 1_000, "outputs_ms": 1_000}


def test_a_job_that_never_ran_has_paid_nothing():
    view = told(MATCHING, leased(1), {"type": "failed", "code": "start_failed"})
    assert view["actual"] == {"paid": money(0), "run_ms": 0, "start_ms": None, "outputs_ms": None}


def test_a_history_of_an_older_program_is_told_as_far_as_it_goes():
    old = {key: value for key, value in candidate(1).items() if key in ("rank", "provider", "machine", "expected_cost")}
    view = told({**MATCHING, "candidates": [old]}, leased(1), PAID, {"type": "succeeded"})
    assert view["chosen"]["rank"] == 1
    assert view["expected"] is None
    assert view["actual"]["run_ms"] == 8_000


def test_until_when_a_job_waits_is_told_only_while_it_does():
    waiting = {"type": "waiting_for_offers", "until": "2027-01-01T00:00:00.000Z"}
    assert told(waiting)["waits_until"] == waiting["until"]
    assert told(waiting, MATCHING, leased(1))["waits_until"] is None
    assert told(waiting, {"type": "cancelled"})["waits_until"] is None


@pytest.mark.parametrize(
    ("strategy", "machines", "funds", "together", "chosen"),
    [
        ("lowest_cost", 1, None, [], 1),
        ("lowest_cost", 2, None, [1, 2], 1),
        ("high_availability", 2, None, [1, 3], 1),
        ("high_availability", 3, None, [], None),
        ("lowest_cost", 2, 1, [1, 2], None),
    ],
)
def test_a_plan_for_several_machines_names_those_that_go_together(
    strategy: str, machines: int, funds: int | None, together: list[int], chosen: int | None
):
    book = OfferBook(max_skew_ms=60_000)
    for number, region in enumerate(("eu", "eu", "us")):
        book.take(offered_by(a_signer(f"p{number}"), price=100 + number, region=region), NOW)
    ask = an_ask()
    found = shortlist(book, ask, now=NOW)
    request = replace(REQUEST, strategy=strategy, machines=machines)
    view = plan_view(request, ask, found, why_not(book, ask, NOW), funds=funds)
    assert (view["machines"], view["together"], view["chosen"]) == (machines, together, chosen)
