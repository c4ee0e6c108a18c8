"""The world between two honest nodes breaks: partitions, a dead engine, a lost chain. Nobody is to blame.

The same books as for cheats must hold, and besides: no honest node is banned by the other, and no node stops.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from market import money
from tests.simulation.marketplace import JobScript, Marketplace, Participant
from tests.simulation.test_cheats import LEASE, LONG, PRICE, TRAVEL_MS, Aftermath, check_books, play, until_running

Act = Callable[[Marketplace, Participant, Participant], Awaitable[None]]


def cut(after_s: float, for_s: float) -> Act:
    """Separate buyer and seller for a while, some seconds after the job has started."""

    async def act(market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(after_s)
        market.network.partition((buyer.signer.key,), (seller.signer.key,))
        await trio.sleep(for_s)
        market.network.heal()

    return act


def watched(act: Act) -> tuple[Act, dict[str, Any]]:
    """Also find out, at the end, whether one of the two has banned the other."""
    seen: dict[str, Any] = {}

    async def both(market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await act(market, buyer, seller)
        while True:
            for one, other in ((buyer, seller), (seller, buyer)):
                network = market.network._nodes.get(one.signer.key)
                if network is not None and network.refuses(other.signer.key):
                    seen[f"{one.name} banned {other.name}"] = trio.current_time()
            await trio.sleep(1)

    return both, seen


def check_exposure(seen: Aftermath, *, downtime_s: float = 0) -> None:
    """A provider loses its own downtime besides: it cannot freeze a job that it cannot reach."""
    slack = money.amount_due(PRICE, TRAVEL_MS)
    lost = seen.worked - seen.earned - money.amount_due(PRICE, round(downtime_s * 1000))
    assert lost <= LEASE.exposure + slack, "the provider lost more than the exposure"
    assert seen.earned - seen.worked <= LEASE.exposure + slack, "the requester lost more than the exposure"


@pytest.mark.parametrize("after_s", [0.2, 2.0, 11.0])
def test_a_short_partition_costs_nothing(after_s: float):
    act, banned = watched(cut(after_s, 6))
    seen = play(act, job=JobScript(duration_ms=60_000))
    check_books(seen)
    assert seen.state == "succeeded"
    # A pause is timed to the millisecond by whoever sees it.
    assert abs(seen.worked - money.amount_due(PRICE, 60_000)) <= 2
    assert abs(seen.earned - seen.worked) <= money.amount_due(PRICE, 20)
    assert banned == {}


@pytest.mark.parametrize("after_s", [0.2, 2.0, 11.0])
@pytest.mark.parametrize("for_s", [15, 40, 120, 400])
def test_a_long_partition_costs_the_exposure_and_no_more(after_s: float, for_s: float):
    act, banned = watched(cut(after_s, for_s))
    seen = play(act, job=JobScript(duration_ms=LONG), until_s=1_200)
    check_books(seen)
    check_exposure(seen)
    assert seen.containers == 0
    assert banned == {}


@pytest.mark.parametrize("for_s", [5, 90, 400])
def test_a_partition_at_the_end_costs_the_exposure_and_no_more(for_s: float):
    """The job ends while the two cannot talk: its result and its last payment wait, or are given up."""
    act, banned = watched(cut(8, for_s))
    seen = play(act, job=JobScript(duration_ms=10_000), until_s=1_200)
    check_books(seen)
    check_exposure(seen)
    assert banned == {}


@pytest.mark.parametrize("for_s", [3, 60, 300])
def test_a_partition_between_award_and_start_costs_nothing(for_s: float):
    async def act(market: Marketplace, buyer: Participant, seller: Participant) -> None:
        while not seller.node.selling.desk.boards:
            await trio.sleep(0.01)
        market.network.partition((buyer.signer.key,), (seller.signer.key,))
        await trio.sleep(for_s)
        market.network.heal()

    both, banned = watched(act)
    seen = play(both, job=JobScript(duration_ms=10_000), until_s=1_200)
    check_books(seen)
    check_exposure(seen)
    assert banned == {}


@pytest.mark.parametrize("after_s", [0.1, 7.0])
@pytest.mark.parametrize("for_s", [3, 10, 60])
def test_an_engine_that_stops_answering_stops_no_node(after_s: float, for_s: float):
    async def act(_market: Marketplace, _buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(after_s)
        seller.docker.go_down()
        await trio.sleep(for_s)
        seller.docker.come_back()

    seen = play(act, job=JobScript(duration_ms=30_000))
    check_books(seen)
    check_exposure(seen, downtime_s=for_s)
    assert seen.free_slots == 1
    if for_s == 3:
        assert seen.state == "succeeded"


@pytest.mark.parametrize("who", ["buyer", "seller"])
@pytest.mark.parametrize("for_s", [3, 10, 60])
def test_a_full_disk_stops_no_node(who: str, for_s: float):
    async def act(market: Marketplace, _buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(7)
        market.participants[who].journal.full = True
        await trio.sleep(for_s)
        market.participants[who].journal.full = False

    seen = play(act, job=JobScript(duration_ms=30_000))
    check_books(seen)
    check_exposure(seen)
    assert seen.free_slots == 1


@pytest.mark.parametrize("stage", [None, "granted", "funded", "running", "ending", "settling", "settled"])
def test_a_disk_that_is_full_at_any_stage_loses_no_job(stage: str | None):
    """What the journal refuses is written when there is room again; the node does not stop, the job does not hang."""

    async def act(_market: Marketplace, buyer: Participant, seller: Participant) -> None:
        (job,) = buyer.node.buying.desk.jobs.values()
        while stage and (job.board is None or job.board.state.stage != stage):
            await (job.wait_ring() if job.board is None else job.board.wait_change())
        buyer.journal.full = True
        await trio.sleep(4)
        buyer.journal.full = False

    seen = play(act, job=JobScript(duration_ms=10_000))
    check_books(seen)
    assert seen.state == "succeeded"
