"""The price of a lease is the one of its award, to the end of its block, wherever the tag goes meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from market import money
from node.job_journal import history
from tests.simulation.marketplace import JobScript, Marketplace, Participant, request, simulate

PRICE, CAP = 100_000, 400_000
RUNS_MS = 30 * 60_000


def _a_long_job(*, surge: bool) -> Any:
    """One job of half an hour on a machine whose tag rises while it runs: by surge, or by its owner's hand."""

    async def scenario(market: Marketplace) -> dict[str, Any]:
        buyer, seller = market.add("buyer", tokens=10**9), market.add("seller")
        seller.sells(PRICE, surge=surge, floor=PRICE // 2, price_cap=CAP)
        seller.job = JobScript(duration_ms=RUNS_MS)
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, seller):
                nursery.start_soon(_stay, participant)
            await _until(lambda: buyer.node is not None and len(buyer.node.intake.book) == 1)
            desk, machine = buyer.node.buying.desk, seller.node.selling.machines[0]
            job = await desk.submit(request(max_duration_ms=60 * 60_000))
            await _until(lambda: machine.inventory.free_slots == 0)
            before = machine.description.price
            if not surge:
                await trio.sleep(300)
                machine.reprice(CAP)
                seller.node.selling.poster.changed()
            await _until(lambda: job not in desk.jobs)
            events = await history(buyer.journal, job)
            after = machine.description.price
            tags = {offer.record.price for offer in buyer.node.intake.book.live(buyer.clock.now_ms())}
            nursery.cancel_scope.cancel()
        return locals()

    return scenario


async def _stay(participant: Participant) -> None:
    async with participant.running():
        await trio.sleep_forever()


async def _until(condition: Any) -> None:
    with trio.fail_after(7_200):
        while not condition():
            await trio.sleep(0.5)


@pytest.mark.parametrize("surge", [True, False], ids=["surge", "by hand"])
def test_the_tag_rises_during_a_lease_and_the_bill_stays(surge: bool) -> None:
    seen: Any = simulate(1, _a_long_job(surge=surge))
    assert seen["before"] == PRICE
    assert seen["after"] > PRICE * 11 // 10, "or nothing would be proved"
    assert seen["tags"] == {seen["after"]}, "the market sees the new tag"
    leased, settled = (_only(seen["events"], kind) for kind in ("leased", "settled"))
    assert leased["price"]["nano_per_gpu_second"] == PRICE
    assert leased["cap"]["units"] == money.amount_due(PRICE, 60 * 60_000), "the price of the whole agreed block"
    assert settled["paid"]["units"] == money.amount_due(PRICE, RUNS_MS)
    paid = [event["amount"]["units"] for event in seen["events"] if event["type"] == "paid"]
    assert len(paid) > 10
    assert all(money.affordable_ms(PRICE, units) <= RUNS_MS for units in paid)


def _only(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [event for event in events if event["type"] == kind]
    return found
