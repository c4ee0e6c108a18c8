"""Markets under crashes, loss, partitions and cancellations: whatever happens, the money adds up at the end.

Every run is one seed; a failing seed is printed by pytest's parameter and replays exactly.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from market import money
from market.lease import LeaseState
from node.job_journal import history, state_of
from tests.fakes.memory_engine import MemoryEngine
from tests.simulation.marketplace import TERMS, JobScript, Marketplace, Participant, request, simulate

SEEDS = range(24)
PRICES = (90_000, 140_000)
JOBS = 3
FUNDS = 1_000_000_000
QUIET_S = 3_600


async def _keep_running(participant: Participant, luck: random.Random, calm_at: float) -> None:
    """Run a node; until calm, crash it at random moments and start it again after a while."""
    while True:
        stormy = trio.current_time() < calm_at
        with trio.move_on_after(luck.expovariate(1 / 60) if stormy else float("inf")):
            async with participant.running():
                await trio.sleep_forever()
        participant.crash_journal(keep_in_flight=luck.random() < 0.5)
        await trio.sleep(luck.choice([0.0, 2.0, 15.0]))


async def _submit_jobs(buyer: Participant, luck: random.Random) -> list[str]:
    jobs: list[str] = []
    while len(jobs) < JOBS:
        await trio.sleep(luck.uniform(1, 20))
        try:
            if buyer.node is not None and len(buyer.node.intake.book):
                jobs.append(await buyer.node.buying.desk.submit(request(max_duration_ms=300_000)))
                if luck.random() < 0.25:
                    await trio.sleep(luck.uniform(0, 60))
                    if buyer.node is not None and (job := buyer.node.buying.desk.jobs.get(jobs[-1])):
                        await buyer.node.buying.desk.cancel(job)
        except (trio.BrokenResourceError, AssertionError):
            continue
    return jobs


async def _storm(market: Marketplace) -> dict[str, Any]:
    luck = random.Random(market.seed * 7 + 1)
    buyer = market.add("buyer", tokens=FUNDS)
    providers = [market.add(f"seller{index}") for index in range(2)]
    for provider, price in zip(providers, PRICES, strict=True):
        provider.sells(price)
        provider.job = JobScript(duration_ms=luck.choice([3_000, 40_000, 120_000]), exit_code=luck.choice([0, 0, 3]))
    calm_at = trio.current_time() + 240
    async with trio.open_nursery() as nursery, market.introducing():
        for participant in (buyer, *providers):
            nursery.start_soon(_keep_running, participant, random.Random(luck.random()), calm_at)
        jobs = await _submit_jobs(buyer, luck)
        await trio.sleep_until(calm_at)
        market.network.loss = 0.0
        with trio.move_on_after(QUIET_S):
            while buyer.node is None or buyer.node.buying.desk.jobs:
                await trio.sleep(5)
        await trio.sleep(400)
        states = [state_of(await history(buyer.journal, job)) for job in jobs]
        chain = market.chain.view(buyer.wallet.address)
        lanes = [await chain.lane(buyer.lane_to(provider)) for provider in providers]
        balances = [await chain.token_balance(one.wallet.address) for one in (buyer, *providers)]
        containers = [await MemoryEngine(one.docker, one.node_id).leases() for one in providers]
        held_slots = [one.node.selling.machines[0].inventory.held for one in providers if one.node]
        nursery.cancel_scope.cancel()
    return {
        "states": states,
        "lanes": lanes,
        "balances": balances,
        "containers": containers,
        "held_slots": held_slots,
        "open_jobs": states.count("running"),
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_in_a_storm(seed: int) -> None:
    luck = random.Random(seed)
    seen: Any = simulate(seed, _storm, loss=luck.choice([0.0, 0.05, 0.3]), duplicate=luck.choice([0.0, 0.1]))
    assert all(state in ("succeeded", "failed", "cancelled") for state in seen["states"]), seen["states"]
    assert sum(seen["balances"]) == FUNDS, "units appeared or vanished"
    for lane, earned, price in zip(seen["lanes"], seen["balances"][1:], PRICES, strict=True):
        assert lane.balance == lane.claimed, "money stayed in the escrow"
        assert lane.claimed == earned
        assert earned <= JOBS * _cap(price)
    assert seen["containers"] == [[], []], "an orphan container"
    assert all(not held for held in seen["held_slots"]), "a slot is held by nobody's lease"


def _cap(price: int) -> int:
    state = LeaseState(price=price, slots=1, max_duration_ms=300_000, terms=TERMS, since=0)
    assert state.cap == money.amount_due(price, 300_000)
    return state.cap


def test_a_storm_replays_exactly() -> None:
    one, other = (simulate(3, _storm, loss=0.05) for _ in range(2))
    assert one == other
