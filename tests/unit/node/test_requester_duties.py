"""A requester's duties in whole markets: funding, files before the final payment, and the rest back home."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from msgspec.structs import replace

from market import money
from market.duties import Duty
from node.job_journal import history
from node.requester_duties import RequesterDuties
from tests.simulation.marketplace import SETTINGS, JobScript, Marketplace, Participant, request, simulate
from tests.simulation.test_cheats import FUNDS, LONG, PRICE, check_books, play, until_running

CAP = money.amount_due(PRICE, 600_000)


def two_jobs(**settings: Any) -> Any:
    """Run two jobs one after the other with one provider, and look at the lane."""

    async def scenario(market: Marketplace) -> dict[str, Any]:
        buyer, seller = market.add("buyer", tokens=FUNDS), market.add("seller")
        buyer.settings = replace(SETTINGS, **settings)
        seller.sells(PRICE)
        seller.job = JobScript(duration_ms=10_000)
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, seller):
                nursery.start_soon(_stay, participant)
            with trio.fail_after(400):
                for _ in range(2):
                    while buyer.node is None or not len(buyer.node.intake.book):
                        await trio.sleep(0.1)
                    await buyer.node.buying.desk.submit(request(max_duration_ms=600_000))
                    while buyer.node.buying.desk.jobs:
                        await trio.sleep(0.1)
            await trio.sleep(60)
            chain = market.chain.view(buyer.wallet.address)
            lane = await chain.lane(buyer.lane_to(seller))
            deposits = [event for event in await chain.events(0, 10**9) if event.kind == "Deposited"]
            nursery.cancel_scope.cancel()
        return {"lane": lane, "deposits": [event.arguments["amount"] for event in deposits]}

    return simulate(1, scenario)


async def _stay(participant: Participant) -> None:
    async with participant.running():
        await trio.sleep_forever()


def test_a_lane_that_is_kept_open_is_not_filled_twice():
    seen = two_jobs(close_lanes=False)
    # The second deposit only makes up for what the first job cost.
    assert seen["deposits"] == [CAP, money.amount_due(PRICE, 10_000)]
    assert seen["lane"].epoch == 0


def test_a_lane_that_is_closed_after_each_job_holds_nothing_between_them():
    seen = two_jobs(close_lanes=True)
    assert seen["deposits"] == [CAP, CAP]
    assert seen["lane"].balance == seen["lane"].claimed == money.amount_due(PRICE, 20_000)


def test_an_empty_wallet_fails_the_job_with_a_remedy_and_asks_nobody():
    async def scenario(market: Marketplace) -> list[dict[str, Any]]:
        buyer, seller = market.add("buyer", tokens=CAP - 1), market.add("seller")
        seller.sells(PRICE)
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, seller):
                nursery.start_soon(_stay, participant)
            while buyer.node is None or not len(buyer.node.intake.book):
                await trio.sleep(0.1)
            job = await buyer.node.buying.desk.submit(request(max_duration_ms=600_000))
            with trio.fail_after(60):
                while buyer.node.buying.desk.jobs:
                    await trio.sleep(0.1)
            assert seller.node is not None
            assert seller.node.selling.machines[0].inventory.fencing == 0, "a slot was taken for nothing"
            events = await history(buyer.journal, job)
            nursery.cancel_scope.cancel()
        return events

    last: Any = simulate(1, scenario)
    assert (last[-1]["type"], last[-1]["code"]) == ("failed", "insufficient_funds")
    assert last[-1]["fix"]


def test_a_job_cancelled_before_it_is_funded_frees_the_slot_at_once(monkeypatch: pytest.MonkeyPatch):
    """The provider is told; its slot does not wait for the deadline."""

    async def slow(_duties: RequesterDuties, _board: Any) -> None:
        await trio.sleep_forever()

    async def act(_market: Marketplace, buyer: Participant, seller: Participant) -> None:
        while not seller.node.selling.desk.boards:
            await trio.sleep(0.05)
        (job,) = buyer.node.buying.desk.jobs.values()
        await buyer.node.buying.desk.cancel(job)
        await trio.sleep(2)
        freed.append(seller.node.selling.machines[0].inventory.free_slots)

    freed: list[int] = []
    monkeypatch.setattr(RequesterDuties, "_fund", slow)
    seen = play(act)
    check_books(seen)
    assert (seen.state, freed) == ("cancelled", [1])


def test_files_are_fetched_before_the_final_payment(monkeypatch: pytest.MonkeyPatch):
    """What we hold cannot be withheld from us: while outputs are on their way nothing final is signed."""
    stages: list[tuple[str, bool]] = []
    honest = RequesterDuties.perform

    async def watch(duties: RequesterDuties, what: Duty, board: Any) -> None:
        await honest(duties, what, board)
        if what is Duty.FETCH_OUTPUTS:
            stages.append((str(board.state.stage), board.lease_id in duties._reports.outputs_fetched))

    monkeypatch.setattr(RequesterDuties, "perform", watch)
    seen = play(job=JobScript(duration_ms=10_000))
    check_books(seen)
    assert stages == [("ending", True)]


def test_a_requester_that_ends_a_lease_tells_a_provider_that_did_not_notice():
    async def act(market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(2)
        (job,) = buyer.node.buying.desk.jobs.values()
        market.network.partition((buyer.signer.key,), (seller.signer.key,))
        await buyer.node.buying.desk.cancel(job)
        await trio.sleep(3)
        market.network.heal()

    seen = play(act, job=JobScript(duration_ms=LONG))
    check_books(seen)
    assert seen.state == "cancelled"
    assert seen.containers == 0
    assert seen.ran_ms <= 20_000


@pytest.mark.parametrize("away_s", [5, 100])
def test_a_chain_that_is_away_delays_and_loses_nothing(away_s: int):
    async def act(_market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(8)
        views = [buyer.node.buying.duties._chain, seller.node.selling.payee._chain]
        for view in views:
            view.offline = True
        await trio.sleep(away_s)
        for view in views:
            view.offline = False

    seen = play(act, job=JobScript(duration_ms=20_000), until_s=900)
    check_books(seen)
    assert seen.state == "succeeded"
    assert seen.earned == seen.worked
