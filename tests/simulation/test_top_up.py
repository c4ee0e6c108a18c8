"""Jobs that are paid for a stretch at a time: more is added in time, or they stop in good order and nobody loses."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from msgspec.structs import replace

from market import money
from market.cover import STOP_MS
from market.lease import OVER
from node.job_journal import history, state_of
from tests.simulation.marketplace import SETTINGS, JobScript, Marketplace, Participant, request, simulate
from tests.simulation.test_cheats import LEASE, LONG, PRICE, TRAVEL_MS, check_books, play
from tests.simulation.test_cheats import _stay as stay
from tests.simulation.test_cheats import _until as until

STRETCH_MS = 120_000
STRETCH = money.amount_due(PRICE, STRETCH_MS)
SPEC = replace(request(max_duration_ms=600_000).spec, fund_ahead_ms=STRETCH_MS)


def sell(
    tokens: int, *, job_ms: int = LONG, top_up: bool = True, act: Any = None, until_s: float = 500, later: int = 0
) -> dict[str, Any]:
    """One job that is funded a stretch at a time, by a buyer with so many tokens."""

    async def scenario(market: Marketplace) -> dict[str, Any]:
        buyer, seller = market.add("buyer", tokens=tokens), market.add("seller")
        buyer.settings = replace(SETTINGS, fund_ahead_ms=STRETCH_MS, top_up=top_up)
        seller.sells(PRICE)
        seller.job = JobScript(duration_ms=job_ms)
        chain = market.chain.view(buyer.wallet.address)
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, seller):
                nursery.start_soon(stay, participant)
            await until(lambda: buyer.node is not None and len(buyer.node.intake.book) == 1, 60)
            job = await buyer.node.buying.desk.submit(replace(request(), spec=SPEC))
            await until(lambda: any(one.phase == "running" for one in seller.docker.containers.values()), 120)
            at_start = await chain.token_balance(buyer.wallet.address)
            if act is not None:
                nursery.start_soon(act, market, buyer, seller)
            await trio.sleep(until_s)
            events = await history(buyer.journal, job)
            containers = list(seller.docker.containers.values())
            lane = await chain.lane(buyer.lane_to(seller))
            seen = {
                "events": events,
                "kinds": [event["type"] for event in events],
                "state": state_of(events),
                "at_start": at_start,
                "kept": await chain.token_balance(buyer.wallet.address),
                "earned": await chain.token_balance(seller.wallet.address),
                "held": lane.balance - lane.claimed,
                "worked": money.amount_due(
                    PRICE, round(sum(one.ran_ms(trio.current_time() * 1000) for one in containers))
                ),
                "running": sum(not one.gone for one in containers),
                "free_slots": seller.node.selling.machines[0].inventory.free_slots,
                "stages": {one.state.stage for one in seller.node.selling.desk.boards.values()},
            }
            nursery.cancel_scope.cancel()
        return seen

    seen: Any = simulate(1, scenario)
    assert seen["kept"] + seen["earned"] + seen["held"] == tokens + later, "units appeared or vanished"
    assert seen["held"] == 0, "money stayed in the escrow"
    return dict(seen)


def test_a_long_job_is_topped_up_in_time_and_paid_to_its_end() -> None:
    seen = sell(10 * STRETCH, job_ms=400_000)
    assert seen["at_start"] == 9 * STRETCH, "only the first stretch was set aside"
    assert (seen["state"], seen["earned"]) == ("succeeded", money.amount_due(PRICE, 400_000))
    assert seen["kinds"].count("topped_up") == 3
    assert "running_dry" not in seen["kinds"]


def test_a_wallet_that_runs_out_is_told_early_and_the_job_stops_while_its_end_is_paid() -> None:
    seen = sell(2 * STRETCH)
    warned = seen["events"][seen["kinds"].index("running_dry")]
    exited = seen["events"][seen["kinds"].index("exited")]
    assert "tokens" in warned["detail"]
    assert warned["time"] < exited["time"]
    assert exited["reason"] == "unfunded"
    failed = seen["events"][-1]
    assert (seen["state"], failed["code"], failed["retryable"]) == ("failed", "unfunded", True)
    # All work was paid for, nothing beyond what was set aside, and the machine is free again.
    assert seen["earned"] == seen["worked"] <= 2 * STRETCH
    assert seen["worked"] >= 2 * STRETCH - money.amount_due(PRICE, STOP_MS + TRAVEL_MS)
    assert (seen["running"], seen["free_slots"], seen["stages"] - OVER) == (0, 1, set())
    # The owner was told with half a stretch left.
    assert seen["kinds"].index("running_dry") < seen["kinds"].index("exited")


def test_money_that_comes_after_the_warning_lets_the_job_go_on() -> None:
    async def pay_in(market: Marketplace, buyer: Participant, _seller: Participant) -> None:
        await trio.sleep(85)
        market.chain.mint(buyer.wallet.address, STRETCH)

    seen = sell(STRETCH, job_ms=170_000, act=pay_in, later=STRETCH)
    assert seen["kinds"].count("running_dry") == 1
    assert seen["kinds"].index("running_dry") < seen["kinds"].index("topped_up")
    assert (seen["state"], seen["earned"]) == ("succeeded", money.amount_due(PRICE, 170_000))


@pytest.mark.parametrize("by_hand", [False, True])
def test_without_leave_to_top_up_only_what_is_put_in_the_lane_by_hand_counts(by_hand: bool) -> None:
    async def act(market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await trio.sleep(80)
        if by_hand:
            lane = buyer.lane_to(seller)
            await market.chain.view(buyer.wallet.address).deposit(lane.payee, lane.signer, STRETCH)

    seen = sell(10 * STRETCH, job_ms=180_000, top_up=False, act=act)
    if by_hand:
        assert (seen["state"], seen["earned"]) == ("succeeded", money.amount_due(PRICE, 180_000))
        assert {"running_dry", "topped_up"} <= set(seen["kinds"])
    else:
        assert seen["events"][-1]["code"] == "unfunded"
        assert seen["earned"] == seen["worked"] <= STRETCH


def test_the_chain_away_for_minutes_costs_no_more_than_was_printed() -> None:
    async def act(_market: Marketplace, buyer: Participant, seller: Participant) -> None:
        views = buyer.node.buying.payer._chain._chain, seller.node.selling.payee._chain
        await trio.sleep(30)
        for view in views:
            view.offline = True
        await trio.sleep(200)
        for view in views:
            view.offline = False

    seen = sell(10 * STRETCH, act=act)
    # Vouchers cannot be believed for ever without a look at the lane: the job freezes, and then ends.
    assert seen["events"][-1]["code"] == "unpaid"
    assert seen["earned"] <= STRETCH
    assert seen["worked"] - seen["earned"] <= LEASE.exposure + money.amount_due(PRICE, TRAVEL_MS)


@pytest.mark.parametrize("seed", range(4))
def test_crashes_of_either_side_during_top_ups_lose_nothing(seed: int) -> None:
    async def act(_market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await trio.sleep(58 + seed * 0.9)
        victim = buyer if seed % 2 else seller
        victim.crash(keep_in_flight=seed % 3 == 0)
        await trio.sleep(1)
        async with victim.running():
            await trio.sleep_forever()

    seen = sell(10 * STRETCH, job_ms=300_000, act=act, until_s=600)
    assert seen["earned"] == seen["worked"]
    assert seen["earned"] <= money.amount_due(PRICE, 300_000)


def test_a_job_that_is_covered_whole_is_as_before() -> None:
    seen = play(job=JobScript(duration_ms=60_000))
    check_books(seen)
    assert seen.state == "succeeded"
    assert not {"topped_up", "running_dry"} & set(seen.kinds)
    assert LEASE.cap == money.amount_due(PRICE, 600_000)
