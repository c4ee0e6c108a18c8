"""Jobs that wait: taken when an offer comes, in a fair order, through restarts, and given up when their time is up."""

from __future__ import annotations

import datetime
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from market.queueing import HOLDS_AFTER_MS
from node.job_file.request import JobRequest
from node.job_journal import history, state_of
from tests.simulation.marketplace import START_MS, JobScript, Marketplace, Participant, request, simulate

MINUTE, HOUR = 60_000, 3_600_000
PRICE = 1_000
Act = Callable[[Marketplace, "Buyer", trio.Nursery], Awaitable[Any]]


class Buyer:
    """A buying node that can be switched off and on."""

    def __init__(self, participant: Participant, nursery: trio.Nursery) -> None:
        self.participant = participant
        self._nursery = nursery
        self._off = trio.Event()
        self._is_off = trio.Event()

    async def start(self) -> None:
        self._off, self._is_off = trio.Event(), trio.Event()
        self._nursery.start_soon(self._run)
        with trio.fail_after(30):
            while self.participant.node is None:
                await trio.sleep(0.01)

    async def stop(self) -> None:
        self._off.set()
        await self._is_off.wait()
        self.participant.crash_journal()

    async def submit(self, job: JobRequest) -> str:
        assert self.participant.node is not None
        return await self.participant.node.buying.desk.submit(job)

    async def events(self, job: str) -> list[dict[str, Any]]:
        return await history(self.participant.journal, job)

    async def state(self, job: str) -> str:
        return state_of(await self.events(job))

    async def until(self, job: str, kind: str, *, within_s: float) -> dict[str, Any]:
        with trio.fail_after(within_s):
            while True:
                for event in await self.events(job):
                    if event["type"] == kind:
                        return event
                await trio.sleep(0.05)

    async def _run(self) -> None:
        async with self.participant.running():
            await self._off.wait()
        self._is_off.set()


def play(act: Act, *, seed: int = 1, **weather: object) -> Any:
    """A market with one buyer and nothing on sale yet."""

    async def scenario(market: Marketplace) -> Any:
        participant = market.add("buyer", tokens=10**12)
        async with trio.open_nursery() as nursery, market.introducing():
            buyer = Buyer(participant, nursery)
            await buyer.start()
            result = await act(market, buyer, nursery)
            nursery.cancel_scope.cancel()
        return result

    return simulate(seed, scenario, **weather)


def open_shop(market: Marketplace, nursery: trio.Nursery, name: str = "seller", **machine: Any) -> Participant:
    seller = market.add(name)
    seller.sells(machine.pop("price", PRICE), **machine)
    seller.job = JobScript(duration_ms=30_000)
    nursery.start_soon(_stay, seller)
    return seller


async def _stay(participant: Participant) -> None:
    async with participant.running():
        await trio.sleep_forever()


def at_ms(event: dict[str, Any]) -> int:
    return round(datetime.datetime.fromisoformat(event["time"]).timestamp() * 1000) - START_MS


def test_an_offer_that_appears_after_five_minutes_is_taken_within_a_second():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        job = await buyer.submit(request(wait_ms=10 * MINUTE))
        await trio.sleep(300)
        assert await buyer.state(job) == "queued"
        open_shop(market, nursery)
        assert buyer.participant.node is not None
        with trio.fail_after(60):
            while not len(buyer.participant.node.intake.book):
                await trio.sleep(0.01)
        await buyer.until(job, "leased", within_s=1)
        await buyer.until(job, "succeeded", within_s=300)

    play(act)


def test_without_a_time_to_wait_a_job_gives_up_after_seconds():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> list[dict[str, Any]]:
        job = await buyer.submit(request())
        await buyer.until(job, "failed", within_s=8)
        return await buyer.events(job)

    events = play(act)
    assert [event["type"] for event in events] == ["queued", "matching", "failed"]
    assert at_ms(events[-1]) - at_ms(events[0]) == pytest.approx(6_000, abs=100)


def test_who_waits_is_told_why_and_until_when():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> list[dict[str, Any]]:
        open_shop(market, nursery, price=10**6)
        await trio.sleep(10)
        job = await buyer.submit(request(wait_ms=MINUTE, max_price=1_000))
        await buyer.until(job, "failed", within_s=100)
        return await buyer.events(job)

    events = play(act)
    assert [event["type"] for event in events] == ["queued", "waiting_for_offers", "matching", "failed"]
    waiting, failed = events[1], events[-1]
    assert waiting["until"].endswith("Z")
    assert (waiting["offers"], waiting["matches"]) == (1, 0)
    assert waiting["rejected"] == [{"rule": "price", "fails": 1, "only": 1}]
    assert waiting["closest"][0]["value"] == 10**6
    assert (failed["code"], failed["retryable"]) == ("no_match", True)
    assert "1 m 0 s in the queue" in failed["message"]
    assert at_ms(failed) - at_ms(events[0]) == pytest.approx(MINUTE, abs=100)
    assert events[-2]["closest"][0]["value"] == 10**6, "what would match, as it is when the time is up"


def test_the_time_to_wait_counts_from_the_submission_also_through_a_restart():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> list[dict[str, Any]]:
        job = await buyer.submit(request(wait_ms=10 * MINUTE))
        await trio.sleep(240)
        await buyer.stop()
        await trio.sleep(120)
        await buyer.start()
        await buyer.until(job, "failed", within_s=400)
        return await buyer.events(job)

    events = play(act)
    assert [event["type"] for event in events] == ["queued", "waiting_for_offers", "matching", "failed"], "told once"
    assert at_ms(events[-1]) - at_ms(events[0]) == pytest.approx(10 * MINUTE, abs=200)


def test_a_job_is_taken_after_a_restart_in_between():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        job = await buyer.submit(request(wait_ms=30 * MINUTE))
        await trio.sleep(60)
        await buyer.stop()
        await trio.sleep(60)
        open_shop(market, nursery)
        await trio.sleep(60)
        await buyer.start()
        await buyer.until(job, "leased", within_s=5)
        await buyer.until(job, "succeeded", within_s=300)

    play(act)


def test_a_job_whose_time_was_up_while_the_node_was_down_is_not_bought_any_more():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> str:
        job = await buyer.submit(request(wait_ms=MINUTE))
        await trio.sleep(30)
        await buyer.stop()
        await trio.sleep(300)
        await buyer.start()
        await trio.sleep(5)
        open_shop(market, nursery)
        await trio.sleep(30)
        return await buyer.state(job)

    assert play(act) == "failed"


def test_a_waiting_job_can_be_cancelled_at_once():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        job = await buyer.submit(request(wait_ms=10 * MINUTE))
        await trio.sleep(100)
        node = buyer.participant.node
        assert node is not None
        await node.buying.desk.cancel(node.buying.desk.jobs[job])
        await buyer.until(job, "cancelled", within_s=0.1)
        assert job not in node.buying.desk.jobs
        seller = open_shop(market, nursery)
        await trio.sleep(30)
        assert seller.node is not None
        assert seller.node.selling.machines[0].inventory.fencing == 0, "nobody was asked"

    play(act)


def test_twenty_jobs_and_one_slot_short_ones_first_and_nobody_for_ever():
    lengths = [MINUTE, 2 * MINUTE, 10 * MINUTE, HOUR, 4 * HOUR] * 4
    random.Random(3).shuffle(lengths)

    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> list[int]:
        jobs = []
        for length in lengths:
            jobs.append(await buyer.submit(request(wait_ms=24 * HOUR, max_duration_ms=length)))
            await trio.sleep(1)
        open_shop(market, nursery)
        leased = {job: await buyer.until(job, "leased", within_s=4 * 3600) for job in jobs}
        ordered = sorted(jobs, key=lambda job: at_ms(leased[job]))
        return [lengths[jobs.index(job)] for job in ordered]

    served = play(act)
    assert sorted(served) == sorted(lengths), "everybody had his turn"
    assert served[:4] == [MINUTE] * 4
    middle = len(lengths) // 2
    assert sum(served[:middle]) < sum(served[middle:])


def test_a_long_job_is_served_though_short_ones_keep_coming():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> tuple[int, int]:
        seller = open_shop(market, nursery)
        seller.job = JobScript(duration_ms=55_000)
        await trio.sleep(5)
        for _ in range(3):
            await buyer.submit(request(wait_ms=24 * HOUR, max_duration_ms=MINUTE))
        long = await buyer.submit(request(wait_ms=24 * HOUR, max_duration_ms=10 * MINUTE))
        short = []
        with trio.fail_after(4 * 3600):
            while await buyer.state(long) == "queued":
                short.append(await buyer.submit(request(wait_ms=24 * HOUR, max_duration_ms=MINUTE)))
                await trio.sleep(60)
        states = [await buyer.state(job) for job in short]
        return sum(state != "queued" for state in states), states.count("queued")

    went_first, still_waiting = play(act)
    assert went_first > 5, "short jobs are not stuck behind a long one"
    assert still_waiting, "and the long one does not wait for the last of them"


def test_a_burst_that_fills_the_market_is_placed_without_pestering_anybody():
    """A provider grants few leases before it sees money: the rest of the line waits for that, and asks then."""

    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> tuple[int, int]:
        for number in range(3):
            seller = open_shop(market, nursery, f"seller{number}", slots=8)
            seller.job = JobScript(duration_ms=HOUR)
        await trio.sleep(10)
        jobs = [await buyer.submit(request(wait_ms=HOUR, max_duration_ms=2 * HOUR)) for _ in range(24)]
        leased = [at_ms(await buyer.until(job, "leased", within_s=60)) for job in jobs]
        events = [await buyer.events(job) for job in jobs]
        return max(leased) - 10_000, sum(event["type"] == "refused" for told in events for event in told)

    last_ms, refused = play(act)
    assert last_ms < 20_000
    assert refused < 24


def test_a_wide_job_is_served_though_narrow_ones_take_every_slot_that_comes_free():
    """Four slots, and always one of them busy: without being left room, the job that needs all four would never go."""

    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> tuple[list[int], int]:
        seller = open_shop(market, nursery, slots=4)
        seller.job = JobScript(duration_ms=55_000)
        await trio.sleep(5)
        narrow = [await buyer.submit(request(wait_ms=6 * HOUR, max_duration_ms=MINUTE)) for _ in range(2)]
        await trio.sleep(5)
        wide = await buyer.submit(wide_request(4))
        with trio.fail_after(2 * 3600):
            while await buyer.state(wide) == "queued":
                await trio.sleep(20)
                narrow.append(await buyer.submit(request(wait_ms=6 * HOUR, max_duration_ms=MINUTE)))
        waited = at_ms(await buyer.until(wide, "leased", within_s=1))
        return await waits(buyer, narrow), waited

    narrow, wide = play(act)
    assert HOLDS_AFTER_MS < wide < 2 * HOLDS_AFTER_MS
    assert len(narrow) > 12
    assert max(narrow) < 6 * MINUTE
    assert sorted(narrow)[len(narrow) // 2] < MINUTE


def test_a_gang_is_served_though_single_jobs_take_every_machine_that_comes_free():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> tuple[list[int], int]:
        for name in ("one", "two"):
            open_shop(market, nursery, name).job = JobScript(duration_ms=55_000)
        await trio.sleep(5)
        single = []
        for _ in range(2):
            single.append(await buyer.submit(request(wait_ms=6 * HOUR, max_duration_ms=MINUTE)))
            await trio.sleep(30)
        assert buyer.participant.node is not None
        (gang, _) = await buyer.participant.node.buying.desk.submit_all(request(wait_ms=6 * HOUR, machines=2))
        with trio.fail_after(2 * 3600):
            while await buyer.state(gang) == "queued":
                single.append(await buyer.submit(request(wait_ms=6 * HOUR, max_duration_ms=MINUTE)))
                await trio.sleep(32)
        waited = at_ms(await buyer.until(gang, "leased", within_s=1))
        return await waits(buyer, single), waited

    single, gang = play(act)
    assert gang > HOLDS_AFTER_MS
    assert max(single) < 15 * MINUTE


def test_room_that_nobody_can_use_is_not_kept_for_ever():
    """Another buyer's job never leaves: the wide one waits in vain, and the narrow ones are served all the same."""

    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> tuple[list[int], str]:
        seller = open_shop(market, nursery, slots=2)
        seller.job = JobScript(duration_ms=20 * HOUR)
        await trio.sleep(5)
        endless = await buyer.submit(request(wait_ms=HOUR, max_duration_ms=23 * HOUR))
        await buyer.until(endless, "running", within_s=60)
        seller.job = JobScript(duration_ms=55_000)
        wide, narrow = await buyer.submit(wide_request(2)), []
        for _ in range(22):
            narrow.append(await buyer.submit(request(wait_ms=6 * HOUR, max_duration_ms=MINUTE)))
            await trio.sleep(120)
        return await waits(buyer, narrow), await buyer.state(wide)

    narrow, wide = play(act)
    assert wide == "queued"
    assert 3 * HOLDS_AFTER_MS < max(narrow) < 4 * HOLDS_AFTER_MS + 3 * MINUTE, "half of what the wide one has waited"


def wide_request(slots: int) -> JobRequest:
    plain = request(wait_ms=6 * HOUR, max_duration_ms=2 * MINUTE)
    requirements = replace(plain.spec.requirements, slots=slots)
    return replace(plain, spec=replace(plain.spec, requirements=requirements))


async def waits(buyer: Buyer, jobs: list[str]) -> list[int]:
    """How long each of the jobs waited for its lease, in milliseconds."""
    found = []
    for job in jobs:
        leased = await buyer.until(job, "leased", within_s=2 * 3600)
        found.append(at_ms(leased) - at_ms((await buyer.events(job))[0]))
    return found
