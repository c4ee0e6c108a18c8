"""Plans and explanations by whole nodes: what is said before is what happens, and what came is told beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from market import money
from market.errors import InvalidRequest
from market.records import Requirements
from node.job_file.request import JobRequest, LocalInput
from node.service import NodeService
from tests.simulation.marketplace import Marketplace, request
from tests.unit.node.test_service import PRICE, submit, until, visit

Views = tuple[Any, Any]


def is_plain(value: Any) -> bool:
    return bool(json.loads(json.dumps(value)) == value)


async def plan_of(buyer: NodeService, **changes: Any) -> Any:
    return await buyer.plan(request(**changes).to_json())


def test_a_plan_says_what_the_auction_will_do_and_buys_nothing():
    async def ask(buyer: NodeService, seller: NodeService, _market: Marketplace) -> None:
        plan = await plan_of(buyer)
        assert is_plain(plan)
        assert (plan["offers"], plan["matches"], plan["chosen"]) == (1, 1, 1)
        assert await buyer.jobs() == []
        (one,) = plan["candidates"]
        assert one["provider"] == (await seller.status())["key"]
        assert sum(term["units"] for term in one["cost"].values()) == one["expected_cost"]["units"]
        assert plan["funds"]["units"] == 10**9
        assert (plan["strategy"], plan["weights"]["cost"]) == ("lowest_cost", 100)
        view = await until(buyer, await submit(buyer), "succeeded")
        assert view["cap"] == one["cap"]
        assert view["provider"] == one["provider"]

    visit(ask)


def test_a_plan_for_what_does_not_fit_says_why():
    async def ask(buyer: NodeService, _seller: NodeService, _market: Marketplace) -> None:
        plan = await plan_of(buyer, max_price=PRICE - 1)
        assert (plan["matches"], plan["chosen"], plan["candidates"]) == (0, None, [])
        assert plan["rejected"] == [{"rule": "price", "fails": 1, "only": 1}]
        assert plan["closest"][0]["value"] == PRICE
        assert plan["max_price"]["nano_per_gpu_second"] == PRICE - 1

    visit(ask)


def test_who_cannot_pay_is_told_before():
    async def ask(buyer: NodeService, _seller: NodeService, _market: Marketplace) -> None:
        buyer._buying().desk.search.funds = poor
        plan = await plan_of(buyer)
        assert plan["candidates"][0]["cap"]["units"] == plan["funds"]["units"] + 1
        assert (plan["matches"], plan["chosen"]) == (1, None)

    async def poor() -> int:
        await trio.lowlevel.checkpoint()
        return money.amount_due(PRICE, 600_000) - 1

    visit(ask)


def test_inputs_count_for_the_transfer(tmp_path: Path):
    (tmp_path / "data").write_bytes(bytes(3 << 20))

    async def ask(buyer: NodeService, _seller: NodeService, _market: Marketplace) -> None:
        local = (LocalInput(source=str(tmp_path / "data"), target="/work/data"),)
        plan = await plan_of(buyer, inputs=local)
        assert plan["candidates"][0]["transfer_ms"] > 0
        with pytest.raises(InvalidRequest):
            await plan_of(buyer, inputs=(LocalInput(source=str(tmp_path / "gone"), target="/work/data"),))

    visit(ask)


def test_a_malformed_request_is_refused_as_at_its_submission():
    async def ask(buyer: NodeService, seller: NodeService, _market: Marketplace) -> None:
        with pytest.raises(InvalidRequest):
            await buyer.plan({"name": "job"})
        with pytest.raises(InvalidRequest):
            await buyer.explain("nobody knows")

    visit(ask)


def test_an_explanation_puts_what_came_beside_what_was_expected():
    async def ask(buyer: NodeService, seller: NodeService, _market: Marketplace) -> None:
        job = await submit(buyer)
        await until(buyer, job, "succeeded")
        told = await buyer.explain(job)
        assert is_plain(told)
        (auction,) = told["auctions"]
        assert (auction["chosen"], auction["refusals"]) == (1, [])
        assert told["chosen"] == auction["seen"]["candidates"][0]
        assert told["expected"]["run_ms"] == 600_000
        assert told["expected"]["compute"]["units"] == money.amount_due(PRICE, 600_000)
        assert told["actual"]["run_ms"] == 20_000
        assert told["actual"]["paid"]["units"] == money.amount_due(PRICE, 20_000)
        assert 0 < told["actual"]["start_ms"] < 60_000
        assert (told["now"], told["waits_until"]) == (None, None)

    visit(ask)


def test_what_runs_has_no_outcome_yet():
    async def ask(buyer: NodeService, seller: NodeService, _market: Marketplace) -> None:
        job = await submit(buyer)
        await until(buyer, job, "running")
        told = await buyer.explain(job)
        assert told["chosen"] is not None
        assert told["expected"] is not None
        assert (told["actual"], told["now"]) == (None, None)

    visit(ask)


def test_refusals_on_the_way_are_told():
    async def ask(buyer: NodeService, seller: NodeService, market: Marketplace) -> None:
        first, second = await submit(buyer), await submit(buyer)
        await until(buyer, first, "succeeded")
        await until(buyer, second, "failed")
        told = await buyer.explain(second)
        assert (told["chosen"], told["expected"], told["actual"]) == (None, None, None)
        reasons = [refusal["reason"] for auction in told["auctions"] for refusal in auction["refusals"]]
        assert set(reasons) <= {"no_capacity"}
        assert told["auctions"][-1]["seen"]["rejected"][0]["rule"] == "slots"

    visit(ask)


def test_a_job_that_waits_is_explained_as_things_are_now():
    async def ask(buyer: NodeService, seller: NodeService, market: Marketplace) -> None:
        needs = replace(request().spec, requirements=Requirements(slots=2))
        waits = JobRequest.from_json(request(spec=needs, wait_ms=60_000).to_json())
        job = str((await buyer.submit(waits.to_json()))["job"])
        await trio.sleep(2)
        told = await buyer.explain(job)
        assert told["state"] == "queued"
        assert told["waits_until"] is not None
        assert told["now"]["rejected"] == [{"rule": "slots", "fails": 1, "only": 1}]
        assert told["auctions"] == []

    visit(ask)
