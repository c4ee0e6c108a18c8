"""Gangs under crashes and loss: whatever happens, all members begin or none, and the money adds up."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import trio

from market.errors import BrokenInvariant, Unavailable
from market.money import amount_due
from node.job_journal import LEASED, PREFIX, SUBMITTED, Submitted, history, state_of
from tests.fakes.memory_engine import MemoryEngine
from tests.simulation.marketplace import JobScript, Marketplace, Participant, request, simulate

FUNDS, PRICE, SELLERS, SIZE, LONGEST_MS = 10**9, 100_000, 4, 3, 300_000
STORM_S, QUIET_S = 240, 3_600


async def _keep_running(participant: Participant, luck: random.Random, calm_at: float) -> None:
    """Run a node; until calm, crash it at random moments and start it again after a while."""
    while True:
        stormy = trio.current_time() < calm_at
        with trio.move_on_after(luck.expovariate(1 / 60) if stormy else float("inf")):
            async with participant.running():
                await trio.sleep_forever()
        participant.crash_journal(keep_in_flight=luck.random() < 0.5)
        await trio.sleep(luck.choice([0.0, 2.0, 15.0]))


async def _submit(buyer: Participant, luck: random.Random) -> None:
    submitted = 0
    while submitted < 2:
        await trio.sleep(luck.uniform(1, 20))
        try:
            if buyer.node is not None and len(buyer.node.intake.book):
                job = request(machines=SIZE, max_duration_ms=LONGEST_MS, wait_ms=1_800_000)
                jobs = await buyer.node.buying.desk.submit_all(job)
                submitted += 1
                if luck.random() < 0.25:
                    await trio.sleep(luck.uniform(0, 60))
                    if buyer.node is not None and (one := buyer.node.buying.desk.jobs.get(jobs[1])):
                        await buyer.node.buying.desk.cancel(one)
        except (trio.BrokenResourceError, AssertionError, BrokenInvariant):
            continue  # the node died meanwhile; what it was told may be on its disk
        except Unavailable as error:
            if error.code != "stopping":
                raise


def _gangs(buyer: Participant) -> list[dict[str, bool]]:
    """The jobs of each gang that is on the disk this instant, and whether each has a lease there."""
    found: dict[str, dict[str, bool]] = {}
    members: dict[str, dict[str, bool]] = {}
    for entry in buyer.journal._entries:
        job = entry.stream.removeprefix(PREFIX)
        if entry.kind == SUBMITTED:
            submitted = msgspec.json.decode(entry.body, type=Submitted)
            assert submitted.gang is not None
            members[job] = found.setdefault(submitted.gang.gang, {})
            members[job][job] = False
        elif entry.kind == LEASED:
            members[job][job] = True
    return list(found.values())


async def _watch(buyer: Participant, odd: list[dict[str, bool]]) -> None:
    """Note every moment in which only some members of a gang are there, or have leases."""
    while True:
        odd += [jobs for jobs in _gangs(buyer) if len(jobs) != SIZE or len(set(jobs.values())) > 1]
        await trio.sleep(0.1)


async def _storm(market: Marketplace) -> dict[str, Any]:
    luck = random.Random(market.seed * 7 + 1)
    buyer = market.add("buyer", tokens=FUNDS)
    sellers = [market.add(f"seller{number}") for number in range(SELLERS)]
    for number, seller in enumerate(sellers):
        seller.sells(PRICE + number)
        seller.job = JobScript(duration_ms=luck.choice([3_000, 40_000, 120_000]), exit_code=luck.choice([0, 0, 3]))
    calm_at = trio.current_time() + STORM_S
    odd: list[dict[str, bool]] = []
    async with trio.open_nursery() as nursery, market.introducing():
        for one in (buyer, *sellers):
            nursery.start_soon(_keep_running, one, random.Random(luck.random()), calm_at)
        nursery.start_soon(_watch, buyer, odd)
        await _submit(buyer, luck)
        await trio.sleep_until(calm_at)
        market.network.loss = 0.0
        with trio.move_on_after(QUIET_S):
            while buyer.node is None or buyer.node.buying.desk.jobs:
                await trio.sleep(5)
        await trio.sleep(400)
        told = [[await history(buyer.journal, job) for job in jobs] for jobs in _gangs(buyer)]
        chain = market.chain.view(buyer.wallet.address)
        lanes = [await chain.lane(buyer.lane_to(seller)) for seller in sellers]
        balances = [await chain.token_balance(one.wallet.address) for one in (buyer, *sellers)]
        held = [one.node.selling.machines[0].inventory.held for one in sellers if one.node]
        containers = [await MemoryEngine(one.docker, one.node_id).leases() for one in sellers]
        nursery.cancel_scope.cancel()
    return {"told": told, "odd": odd, "lanes": lanes, "balances": balances, "held": held, "containers": containers}


@pytest.mark.parametrize("seed", range(10))
def test_in_a_storm_a_gang_is_never_half_leased_and_nothing_is_lost(seed: int) -> None:
    luck = random.Random(seed)
    seen: Any = simulate(seed, _storm, loss=luck.choice([0.0, 0.05, 0.3]), duplicate=luck.choice([0.0, 0.1]))
    assert seen["odd"] == []
    for gang in seen["told"]:
        assert len({any(event["type"] == "leased" for event in events) for events in gang}) == 1
        assert all(state_of(events) in ("succeeded", "failed", "cancelled") for events in gang), seen["told"]
    assert sum(seen["balances"]) == FUNDS, "units appeared or vanished"
    most = len(seen["told"]) * amount_due(PRICE + SELLERS, LONGEST_MS)
    for lane, earned in zip(seen["lanes"], seen["balances"][1:], strict=True):
        assert lane.balance == lane.claimed == earned <= most
    assert all(not held for held in seen["held"])
    assert seen["containers"] == [[]] * SELLERS
