"""A provider's duties in whole markets: each way a job can start, fail, run over and end, and what is billed for it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import pytest
import trio

from market import money
from market.lease import ContainerExited
from market.records import UsageReport
from market.signing import verify
from node.lease_board import PREFIX, REPORT_SENT, decode_fact
from tests.simulation.marketplace import JobScript, Marketplace, Participant
from tests.simulation.test_cheats import LONG, PRICE, TRAVEL_MS, Aftermath, check_books, play, until_running

STOP_GRACE_MS = 10_000


def ends_of(seller: Participant) -> list[ContainerExited]:
    """How, by the provider's own journal, its jobs ended."""
    facts = [decode_fact(entry) for entry in seller.journal._entries]
    return [fact for fact in facts if isinstance(fact, ContainerExited)]


def witness(act: Any = None) -> tuple[Any, dict[str, Participant]]:
    """Let the test look at the seller afterwards."""
    seen: dict[str, Participant] = {}

    async def both(market: Marketplace, buyer: Participant, seller: Participant) -> None:
        seen.update(buyer=buyer, seller=seller)
        if act is not None:
            await act(market, buyer, seller)

    return both, seen


def failed_with(seen: Aftermath, kind: str) -> None:
    check_books(seen)
    assert seen.state == "failed"
    assert kind in seen.kinds


def test_an_image_that_cannot_be_had_costs_nothing():
    async def act(_market: Marketplace, _buyer: Participant, seller: Participant) -> None:
        seller.docker.images.clear()

    both, who = witness(act)
    seen = play(both)
    failed_with(seen, "exited")
    assert (seen.spent, seen.worked) == (0, 0)
    assert [end.reason for end in ends_of(who["seller"])][:1] == ["image"]


@pytest.mark.parametrize("where", ["engine", "job"])
def test_a_start_that_is_refused_costs_nothing(where: str):
    async def act(_market: Marketplace, _buyer: Participant, seller: Participant) -> None:
        if where == "engine":
            seller.docker.refuse_starts = "no such runtime"

    both, who = witness(act)
    seen = play(both, job=JobScript(start_error="no such command" if where == "job" else ""))
    failed_with(seen, "exited")
    assert (seen.spent, seen.worked) == (0, 0)
    assert ends_of(who["seller"])[0].reason == "start_failed"


def test_a_machine_that_was_renamed_under_a_lease_fails_the_job_and_not_the_node():
    async def act(_market: Marketplace, _buyer: Participant, seller: Participant) -> None:
        while not seller.node.selling.desk.boards:
            await trio.sleep(0.01)
        seller.node.selling.desk.machines.clear()

    both, who = witness(act)
    seen = play(both)
    assert (seen.state, seen.spent) == ("failed", 0)
    assert ends_of(who["seller"])[0].reason == "start_failed"


def test_a_job_that_runs_over_is_ended_and_billed_to_its_limit():
    both, who = witness()
    seen = play(both, job=JobScript(duration_ms=LONG), until_s=900)
    failed_with(seen, "exited")
    assert seen.earned == money.amount_due(PRICE, 600_000)
    assert seen.ran_ms <= 600_000 + TRAVEL_MS
    assert ends_of(who["seller"])[0].reason == "time_limit"


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_cancelled_job_is_stopped_and_billed_until_it_stopped(stubborn: bool):
    async def act(_market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(20)
        (job,) = buyer.node.buying.desk.jobs.values()
        await buyer.node.buying.desk.cancel(job)

    seen = play(act, job=JobScript(duration_ms=LONG, ignores_sigterm=stubborn))
    check_books(seen)
    assert seen.state == "cancelled"
    assert seen.ran_ms <= 20_000 + TRAVEL_MS + (STOP_GRACE_MS if stubborn else 0)
    assert seen.earned == seen.worked


def test_a_program_killed_for_memory_was_killed_for_memory():
    both, who = witness()
    seen = play(both, job=JobScript(duration_ms=LONG, oom_at_ms=5_000))
    failed_with(seen, "exited")
    assert ends_of(who["seller"])[0].reason == "oom"
    assert seen.earned == money.amount_due(PRICE, 5_000)


def test_a_container_that_is_lost_while_it_is_stopped_is_not_billed_on():
    """Nobody can say when it ended: the meter must not run until the last deadline."""

    async def act(_market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(7)
        seller.docker.go_down()
        (job,) = buyer.node.buying.desk.jobs.values()
        await buyer.node.buying.desk.cancel(job)
        await trio.sleep(1)
        for lease_id in seller.docker.containers:
            seller.docker.lose(lease_id)
        seller.docker.come_back()

    seen = play(act, job=JobScript(duration_ms=LONG))
    check_books(seen)
    assert seen.earned <= money.amount_due(PRICE, 7_000 + 1_000 + 2 * TRAVEL_MS)


def test_a_job_that_is_frozen_is_thawed_and_not_billed_for_the_frost():
    async def act(market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(2)
        market.network.partition((buyer.signer.key,), (seller.signer.key,))
        await trio.sleep(16)
        assert next(iter(seller.docker.containers.values())).paused_at is not None
        market.network.heal()

    seen = play(act, job=JobScript(duration_ms=60_000))
    check_books(seen)
    assert seen.state == "succeeded"
    assert abs(seen.earned - money.amount_due(PRICE, 60_000)) <= money.amount_due(PRICE, 20)


@pytest.mark.parametrize("seed", range(4))
def test_no_report_is_ever_written_twice_under_one_number(seed: int):
    """Two different reports under one number would be equivocation; a crash must not make an honest node a cheat."""

    async def act(market: Marketplace, _buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        for pause in (4.9, 5.003, 0.004, 3.1, 9.7):
            await trio.sleep(pause + seed * 0.0013)
            if seller.node is None:
                return
            seller.crash(keep_in_flight=seed % 2 == 0)
            market.network.loss = 0.3
            await trio.sleep(0.5)
            nursery.start_soon(_again, seller)
        market.network.loss = 0.0

    nursery: Any = None

    async def _again(seller: Participant) -> None:
        with trio.CancelScope():
            async with seller.running():
                await trio.sleep_forever()

    async def run(market: Marketplace, buyer: Participant, seller: Participant) -> None:
        nonlocal nursery
        who.update(seller=seller)
        async with trio.open_nursery() as nursery:
            await act(market, buyer, seller)
            await trio.sleep(300)
            nursery.cancel_scope.cancel()

    who: dict[str, Participant] = {}
    seen = play(run, job=JobScript(duration_ms=60_000))
    check_books(seen)
    written: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    for entry in who["seller"].journal._entries:
        if entry.stream.startswith(PREFIX) and entry.kind == REPORT_SENT:
            report = verify(entry.body, UsageReport)
            written[entry.stream, report.record.sequence].add(report.id)
    assert written
    assert all(len(reports) == 1 for reports in written.values())


def test_what_is_owed_is_redeemed_when_the_requester_is_gone():
    async def act(_market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(21)
        buyer.crash()

    both, who = witness(act)
    seen = play(both, job=JobScript(duration_ms=LONG))
    assert seen.earned == seen.lane.claimed > 0
    (settled,) = [entry for entry in who["seller"].journal._entries if entry.kind == "settled"]
    assert msgspec.json.decode(settled.body)


def test_a_program_that_is_not_found_ends_the_job_at_once_and_is_named_to_its_owner():
    """Unlike a container the engine refuses, this one ran for a moment: its init looked for the program."""
    sentence = "the program 'trian' was not found in the image"

    async def act(market: Marketplace, _buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        for container in seller.docker.containers.values():
            container.error = sentence

    both, who = witness(act)
    seen = play(both, job=JobScript(duration_ms=500, exit_code=127))
    failed_with(seen, "exited")
    assert [(end.reason, end.exit_code) for end in ends_of(who["seller"])] == [("start_failed", 127)]
    assert seen.earned <= money.amount_due(PRICE, 500 + TRAVEL_MS)
    assert sentence in told(who["buyer"])


def told(buyer: Participant) -> str:
    """Everything that the owner of a job was told, as it is kept."""
    return "\n".join(str(entry) for entry in buyer.journal._entries)
