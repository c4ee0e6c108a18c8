"""One answer for a job, out of its plan."""

from __future__ import annotations

from typing import Any, cast

from market.ask import JobFacts
from market.money import MAX_PRICE
from node.job_file.request import JobRequest
from node.light_plan import light_plan
from node.plan_shapes import PlanView
from node.what_if import CONTAINER_MS, FUNDING_MS, what_if
from tests.fakes.samples import NOW, SPEC, a_signer, offered_by

REQUEST = JobRequest(name="job", spec=SPEC, max_price=MAX_PRICE, max_total=10**15)


def a_plan(*offers: Any, image_mib: int = 0, moved_mib: int = 0, **changes: Any) -> PlanView:
    job = JobFacts(max_ms=SPEC.max_duration_ms, image="image", image_mib=image_mib, moved_mib=moved_mib)
    return cast("PlanView", {**light_plan(REQUEST, job, offers, {}, now=NOW), **changes})


def test_the_terms_of_the_start_add_up() -> None:
    offer = offered_by(a_signer("a"), net_mbps=1_000)
    start = what_if(a_plan(offer, image_mib=4096, moved_mib=1024))["start"]
    assert start is not None
    assert (start["funding_ms"], start["container_ms"]) == (FUNDING_MS, CONTAINER_MS)
    # A GiB at a gigabit takes 8.6 seconds.
    assert 8_000 < start["inputs_ms"] < 9_000
    assert start["image_ms"] in range(4 * start["inputs_ms"], 4 * start["inputs_ms"] + 4)
    assert start["total_ms"] == sum(start[key] for key in ("funding_ms", "container_ms", "image_ms", "inputs_ms"))  # type: ignore[literal-required]


def test_an_image_that_is_there_costs_no_time() -> None:
    start = what_if(a_plan(offered_by(a_signer("a"))))["start"]
    assert start is not None
    assert start["total_ms"] == FUNDING_MS + CONTAINER_MS


def test_the_best_is_the_first_that_can_be_paid() -> None:
    offers = [offered_by(a_signer(name), price=price) for name, price in [("a", 10), ("b", 20)]]
    first, second = (what_if(a_plan(*offers, chosen=rank, funds={"units": 1})) for rank in (1, 2))
    poor = what_if(a_plan(*offers, chosen=None, funds={"units": 0}))
    assert [one["best"]["rank"] for one in (first, second, poor) if one["best"]] == [1, 2, 1]
    assert [one["affordable"] for one in (first, second, poor)] == [True, True, False]


def test_nothing_that_fits_is_no_start() -> None:
    view = what_if(a_plan(offered_by(a_signer("a"), simulated=True)))
    assert (view["matches"], view["best"], view["start"], view["affordable"]) == (0, None, None, True)
    assert [rule["rule"] for rule in view["rejected"]] == ["simulated"]
