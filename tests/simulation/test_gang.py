"""Gangs: one job on several machines of different owners. All begin, or none does, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio

from market.money import amount_due
from market.transcript import Replayed, check_award, read_file
from node.job_file.request import JobRequest
from node.job_journal import LEASED, PREFIX
from tests.simulation.marketplace import JobScript, Marketplace, Participant, request, simulate
from tests.simulation.test_queue import MINUTE, PRICE, Act, Buyer, open_shop, play

FUNDS = 10**12
GANG = request(machines=3, wait_ms=30 * MINUTE)


def gang(act: Act, *, sellers: int = 3, seed: int = 1, price: int = PRICE) -> Any:
    """Sellers of one slot each, dearer from one to the next, and a buyer that knows them all."""

    async def scenario(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> Any:
        for number in range(sellers):
            open_shop(market, nursery, f"seller{number}", price=price + number)
        await knows(buyer, sellers)
        return await act(market, buyer, nursery)

    return play(scenario, seed=seed)


async def knows(buyer: Buyer, count: int) -> None:
    await until(lambda: buyer.participant.node is not None and len(buyer.participant.node.intake.book) >= count)


async def until(condition: Callable[[], bool], *, within_s: float = 300, step_s: float = 0.05) -> None:
    with trio.fail_after(within_s):
        while not condition():
            await trio.sleep(step_s)


async def submit(buyer: Buyer, job: JobRequest = GANG) -> list[str]:
    assert buyer.participant.node is not None
    return await buyer.participant.node.buying.desk.submit_all(job)


def sellers_of(market: Marketplace) -> list[Participant]:
    return [one for name, one in market.participants.items() if name.startswith("seller")]


async def granted(market: Marketplace) -> list[int]:
    """How many leases each seller ever granted."""
    return [len(await one.journal.streams("lease/")) for one in sellers_of(market)]


def slots_held(market: Marketplace) -> int:
    machines = [one.node.selling.machines[0] for one in sellers_of(market) if one.node is not None]
    return sum(len(machine.inventory.held) for machine in machines)


async def leased(buyer: Buyer, jobs: Sequence[str]) -> int:
    """How many of these jobs have a lease, as it is on the disk."""
    entries = [await buyer.participant.journal.read(PREFIX + job) for job in jobs]
    return sum(any(entry.kind == LEASED for entry in stream) for stream in entries)


async def states(buyer: Buyer, jobs: Sequence[str]) -> list[str]:
    return [await buyer.state(job) for job in jobs]


async def all_end(buyer: Buyer, jobs: Sequence[str], *, within_s: float = 3_600) -> list[str]:
    """Wait for the end of all; what became of them."""
    with trio.fail_after(within_s):
        while not set(await states(buyer, jobs)) <= {"succeeded", "failed", "cancelled"}:
            await trio.sleep(1)
    return await states(buyer, jobs)


async def spent(market: Marketplace, buyer: Buyer) -> int:
    """What the buyer's wallet lacks once all lanes are closed."""
    await trio.sleep(300)
    wallet = buyer.participant.wallet.address
    return FUNDS - await market.chain.view(wallet).token_balance(wallet)


def proved(market: Marketplace, jobs: Sequence[str]) -> list[Replayed]:
    """The award file of each member, checked."""
    folder = market.folder / "buyer" / "awards"
    return [check_award(read_file((folder / f"{job}.award").read_bytes())) for job in jobs]


def test_three_machines_of_different_owners_run_one_job_together():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        jobs = await submit(buyer)
        leases = [await buyer.until(job, "leased", within_s=10) for job in jobs]
        assert len({one["provider"] for one in leases}) == 3
        assert len({one["time"] for one in leases}) == 1, "in one instant"
        for job in jobs:
            await buyer.until(job, "running", within_s=60)
        places = [
            (container.spec.env["CFAB_GANG_RANK"], container.spec.env["CFAB_GANG_SIZE"])
            for seller in sellers_of(market)
            for container in seller.docker.containers.values()
        ]
        assert sorted(places) == [("0", "3"), ("1", "3"), ("2", "3")]
        assert await all_end(buyer, jobs) == ["succeeded"] * 3

    gang(act, sellers=5)


def test_the_award_of_each_member_can_be_checked_by_anybody():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> list[Replayed]:
        jobs = await submit(buyer)
        await buyer.until(jobs[2], "leased", within_s=10)
        return proved(market, jobs)

    found = gang(act, sellers=5)
    assert sorted(one.place for one in found) == [1, 2, 3], "the three best, each once"
    assert all(one.by_word == one.place - 1 for one in found), "the better ones went to the same gang"
    assert all(one.fitting == one.offers == 5 for one in found)


def test_who_refuses_is_replaced_and_the_others_are_kept():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        drained = sellers_of(market)[0]
        assert drained.node is not None
        drained.node.selling.machines[0].draining = True
        jobs = await submit(buyer)
        await buyer.until(jobs[0], "leased", within_s=10)
        refused = await buyer.until(jobs[0], "refused", within_s=1)
        assert (refused["provider"], refused["reason"]) == (drained.signer.key.hex(), "draining")
        assert sum(one.refused for one in proved(market, jobs)) == 1
        assert slots_held(market) == 3
        assert await granted(market) == [0, 1, 1, 1]

    gang(act, sellers=4)


def test_where_one_refuses_and_nobody_is_left_none_begins():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        # The last to be asked: those asked before it have granted by then.
        last = max(sellers_of(market), key=lambda one: one.signer.key)
        assert last.node is not None
        last.node.selling.machines[0].draining = True
        jobs = await submit(buyer, request(machines=3))
        assert await all_end(buyer, jobs) == ["failed"] * 3
        assert await leased(buyer, jobs) == 0
        assert sorted(await granted(market)) == [0, 1, 1], "two had granted"
        await until(lambda: slots_held(market) == 0, within_s=5)
        for job in jobs:
            failed = (await buyer.events(job))[-1]
            assert (failed["code"], failed["retryable"]) == ("no_match", True)
            assert "3 machines of different owners" in failed["message"]
        assert await spent(market, buyer) == 0

    gang(act)


def test_a_gang_waits_until_there_are_enough():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        jobs = await submit(buyer)
        await trio.sleep(60)
        assert await states(buyer, jobs) == ["queued"] * 3
        assert [one["type"] for one in await buyer.events(jobs[2])] == ["queued", "waiting_for_offers"]
        assert slots_held(market) == 0, "nobody was asked in vain"
        open_shop(market, nursery, "seller9", price=PRICE)
        await buyer.until(jobs[0], "leased", within_s=30)
        assert await leased(buyer, jobs) == 3

    gang(act, sellers=2)


def test_where_there_are_too_few_the_owner_sees_who_there_is():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        jobs = await submit(buyer, request(machines=3))
        assert await all_end(buyer, jobs) == ["failed"] * 3
        told = await buyer.events(jobs[0])
        assert [one["type"] for one in told] == ["queued", "matching", "failed"]
        assert len(told[1]["candidates"]) == 2
        assert "2 owners have one that fits" in told[2]["message"]

    gang(act, sellers=2)


def test_leases_that_a_full_disk_cannot_take_are_given_back_and_tried_again():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        jobs = await submit(buyer)
        await until(lambda: slots_held(market) == 2, step_s=0.0005)
        buyer.participant.journal.full = True
        await until(lambda: slots_held(market) == 3, step_s=0.0005)
        await until(lambda: slots_held(market) == 0, within_s=10)
        assert await leased(buyer, jobs) == 0
        buyer.participant.journal.full = False
        assert await all_end(buyer, jobs) == ["succeeded"] * 3

    gang(act)


def test_what_cannot_be_paid_for_together_is_not_begun():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        jobs = await submit(buyer, request(machines=3, max_total=10**13, max_duration_ms=500_000_000))
        assert await all_end(buyer, jobs) == ["failed"] * 3
        failed = (await buyer.events(jobs[1]))[-1]
        assert failed["code"] == "insufficient_funds", "two of them could be paid for"
        assert "on 3 machines" in failed["message"]
        assert all(one.node.selling.machines[0].inventory.fencing == 0 for one in sellers_of(market) if one.node)

    gang(act, price=FUNDS * 10**6 // 500_000_000 // 2 - 10)


@pytest.mark.parametrize("strategy", ["lowest_cost", "high_availability"])
def test_a_gang_that_must_not_fail_at_once_is_scattered(strategy: str):
    regions = ("eu-west", "eu-west", "us-east", "us-east", "asia")

    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> list[str]:
        for number, region in enumerate(regions):
            open_shop(market, nursery, f"seller{number}", price=PRICE + number, region=region)
        await knows(buyer, len(regions))
        jobs = await submit(buyer, request(machines=3, strategy=strategy, wait_ms=MINUTE))
        await buyer.until(jobs[0], "leased", within_s=10)
        assert len(proved(market, jobs)) == 3
        owners = {one.signer.key.hex(): one.machine_classes[0].region for one in sellers_of(market)}
        return sorted([owners[(await buyer.until(job, "leased", within_s=1))["provider"]] for job in jobs])

    expected = ["eu-west", "eu-west", "us-east"] if strategy == "lowest_cost" else ["asia", "eu-west", "us-east"]
    assert play(act) == expected


def test_a_requester_that_dies_between_grants_holds_nobodys_slots_for_long():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        jobs = await submit(buyer)
        await until(lambda: slots_held(market) in (1, 2), step_s=0.0005)
        buyer.participant.crash()
        assert await leased(buyer, jobs) == 0
        await until(lambda: slots_held(market) == 0, within_s=90)
        await buyer.start()
        assert await all_end(buyer, jobs) == ["succeeded"] * 3, "they wait on together"
        assert await spent(market, buyer) == sum(amount_due(PRICE + number, 30_000) for number in range(3))

    gang(act)


def test_a_requester_that_dies_after_the_opening_goes_on_with_all():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        jobs = await submit(buyer)
        while not await leased(buyer, jobs):
            await trio.sleep(0.001)
        buyer.participant.crash()
        assert await leased(buyer, jobs) == 3
        await trio.sleep(5)
        await buyer.start()
        assert await all_end(buyer, jobs) == ["succeeded"] * 3
        assert await granted(market) == [1, 1, 1]

    gang(act)


@pytest.mark.parametrize("seed", range(12))
def test_whenever_the_requester_dies_all_begin_or_none(seed: int):
    """Every few milliseconds of the auction is a moment to die in, with or without what was being written."""

    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        jobs = await submit(buyer)
        await trio.sleep(seed * 0.012)
        buyer.participant.crash(keep_in_flight=seed % 2 == 0)
        assert await leased(buyer, jobs) in (0, 3)
        await buyer.start()
        with trio.fail_after(600):
            while await leased(buyer, jobs) == 0:
                await trio.sleep(0.5)
        assert await leased(buyer, jobs) == 3
        assert await all_end(buyer, jobs) == ["succeeded"] * 3
        await until(lambda: slots_held(market) == 0)

    gang(act, seed=seed)


def test_cancelling_one_before_the_leases_cancels_all():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        jobs = await submit(buyer)
        await trio.sleep(30)
        desk = buyer.participant.node.buying.desk  # type: ignore[union-attr]
        await desk.cancel(desk.jobs[jobs[1]])
        assert await all_end(buyer, jobs, within_s=2) == ["cancelled"] * 3
        assert desk.jobs == {}

    gang(act, sellers=2)


def test_a_gang_cancelled_while_machines_are_asked_gives_all_back():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        jobs = await submit(buyer)
        await until(lambda: slots_held(market) == 1, step_s=0.0005)
        desk = buyer.participant.node.buying.desk  # type: ignore[union-attr]
        await desk.cancel(desk.jobs[jobs[2]])
        assert await all_end(buyer, jobs, within_s=5) == ["cancelled"] * 3
        await until(lambda: slots_held(market) == 0, within_s=5)
        assert await leased(buyer, jobs) == 0

    gang(act)


def test_cancelling_one_after_the_start_leaves_the_others_alone():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        jobs = await submit(buyer)
        for job in jobs:
            await buyer.until(job, "running", within_s=60)
        desk = buyer.participant.node.buying.desk  # type: ignore[union-attr]
        await desk.cancel(desk.jobs[jobs[1]])
        assert await all_end(buyer, jobs) == ["succeeded", "cancelled", "succeeded"]

    gang(act)


def test_when_one_cannot_start_the_others_are_ended_and_told_why():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        broken = sellers_of(market)[1]
        broken.docker.refuse_starts = "no such device"
        for one in sellers_of(market):
            one.job = JobScript(duration_ms=10 * MINUTE)
        jobs = await submit(buyer)
        await buyer.until(jobs[0], "leased", within_s=10)
        owners = [(await buyer.until(job, "leased", within_s=1))["provider"] for job in jobs]
        rank = owners.index(broken.signer.key.hex())
        assert await all_end(buyer, jobs, within_s=400) == ["failed"] * 3
        ends = [(await buyer.events(job))[-1] for job in jobs]
        assert ends[rank]["code"] == "start_failed"
        for other in {0, 1, 2} - {rank}:
            assert (ends[other]["code"], ends[other]["retryable"]) == ("gang_incomplete", True)
            assert ends[other]["message"] == f"gang member {rank} could not start"
        await until(lambda: slots_held(market) == 0)

    gang(act)


def test_the_others_are_ended_also_when_the_requester_was_away_meanwhile():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        broken = sellers_of(market)[0]
        broken.docker.refuse_starts = "no such device"
        for one in sellers_of(market):
            one.job = JobScript(duration_ms=10 * MINUTE)
        jobs = await submit(buyer)
        await buyer.until(jobs[0], "leased", within_s=10)
        owners = [(await buyer.until(job, "leased", within_s=1))["provider"] for job in jobs]
        rank = owners.index(broken.signer.key.hex())
        await buyer.until(jobs[rank], "exited", within_s=100)
        buyer.participant.crash()
        await trio.sleep(1)
        await buyer.start()
        assert await all_end(buyer, jobs, within_s=400) == ["failed"] * 3
        for other in {0, 1, 2} - {rank}:
            end = (await buyer.events(jobs[other]))[-1]
            assert (end["code"], end["message"]) == ("gang_incomplete", f"gang member {rank} could not start")

    gang(act)


@pytest.mark.parametrize("seed", range(30))
def test_two_gangs_that_want_the_same_machines_do_not_block_each_other(seed: int):
    async def scenario(market: Marketplace) -> None:
        names = ("buyer", "other")
        people = [market.add(name, tokens=FUNDS) for name in names]
        async with trio.open_nursery() as nursery, market.introducing():
            buyers = [Buyer(one, nursery) for one in people]
            for number in range(4):
                open_shop(market, nursery, f"seller{number}", price=PRICE + market.rng.randrange(4))
            for buyer in buyers:
                await buyer.start()
            for buyer in buyers:
                await knows(buyer, 4)
            await trio.sleep(market.rng.uniform(0, 0.1))
            jobs = [await submit(buyer) for buyer in buyers]
            with trio.fail_after(2):
                while not any([await leased(buyer, mine) for buyer, mine in zip(buyers, jobs, strict=True)]):
                    await trio.sleep(0.01)
            first = [await leased(buyer, mine) for buyer, mine in zip(buyers, jobs, strict=True)]
            assert sorted(first) == [0, 3], "one of them is ahead, whole"
            for buyer, mine in zip(buyers, jobs, strict=True):
                assert await all_end(buyer, mine, within_s=600) == ["succeeded"] * 3
            nursery.cancel_scope.cancel()

    simulate(seed, scenario)


def test_two_gangs_of_one_node_follow_one_another():
    async def act(market: Marketplace, buyer: Buyer, nursery: trio.Nursery) -> None:
        first, second = await submit(buyer), await submit(buyer)
        await buyer.until(first[0], "leased", within_s=10)
        assert (await leased(buyer, first), await leased(buyer, second)) == (3, 0)
        assert await all_end(buyer, [*first, *second]) == ["succeeded"] * 6
        assert [one["type"] for one in await buyer.events(first[0])].count("refused") == 0

    gang(act, sellers=4)
