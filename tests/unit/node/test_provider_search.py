"""Looking for a provider for as long as the owner said: no offer that comes is missed, and nobody is pestered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
from msgspec.structs import replace
from trio.testing import MockClock

from market.lease import LaneFunded
from node import provider_search
from node.gas_at_hand import GasMissing
from node.grant_limits import MAX_UNFUNDED
from tests.fakes.samples import BUYER, SELLER, a_signer, an_offer, offered_by
from tests.unit.node.test_requester_jobs import PLAIN, Desk, a_desk, kinds

HOUR = 3_600_000
PATIENT = replace(PLAIN, wait_ms=HOUR)


async def waiting(desk: Desk, **changes: Any) -> str:
    return await desk.desk.submit(replace(PATIENT, **changes))


async def test_a_provider_that_always_refuses_is_asked_less_and_less(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path, grants=False) as desk:
        await waiting(desk)
        for _ in range(180):  # its offer is refreshed all the time, and says that it has slots
            await trio.sleep(20)
            desk.offer()
        assert 100 < len(desk.network.requests) < 400


async def test_an_owner_is_not_told_of_hundreds_of_refusals(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path, grants=False) as desk:
        job = await waiting(desk)
        for _ in range(100):
            await trio.sleep(20)
            desk.offer()
        assert kinds(await desk.told(job)).count("refused") == 16
        asked = len(desk.network.requests)
        desk.grants = True
        events = await desk.until_done(job)
        assert len(desk.network.requests) == asked + 1
        # The auction that brings the lease is told, however many went before.
        assert kinds(events)[-4:-1].count("matching") == 1
        assert "leased" in kinds(events)


async def test_a_changed_offer_is_tried_at_once_though_the_old_one_is_left_alone(
    autojump_clock: MockClock, tmp_path: Path
):
    async with a_desk(tmp_path, grants=False) as desk:
        await waiting(desk)
        for _ in range(20):
            desk.offer()
            await trio.sleep(20)
        desk.grants, asked = True, len(desk.network.requests)
        desk.offer(price=99_000)
        await trio.sleep(0.5)
        assert len(desk.network.requests) == asked + 1


async def test_money_that_comes_later_is_noticed(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path, funds=0) as desk:
        job = await waiting(desk)
        await trio.sleep(20)
        assert desk.network.requests == []
        told = await desk.told(job)
        assert kinds(told) == ["queued", "waiting_for_offers"], "no list of offers that cannot be paid, again and again"
        assert "the wallet may spend 0.000000 now" in told[-1]["message"]
        desk.funds = 10**9
        await trio.sleep(25)
        assert "leased" in kinds(await desk.told(job))


async def test_a_job_that_cannot_be_paid_for_says_so_when_its_time_is_up(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path, funds=0) as desk:
        events = await desk.until_done(await waiting(desk, wait_ms=30_000))
        assert (events[-1]["type"], events[-1]["code"]) == ("failed", "insufficient_funds")


async def test_a_job_that_does_not_wait_and_cannot_be_paid_for_is_refused_once(tmp_path: Path):
    async with a_desk(tmp_path, funds=0) as desk:
        began = trio.current_time()
        events = await desk.until_done(await waiting(desk, wait_ms=0))
        assert kinds(events) == ["queued", "matching", "failed"]
        assert events[-1]["code"] == "insufficient_funds"
        assert trio.current_time() - began < provider_search.PATIENCE_MS / 2000
        assert desk.network.requests == []


async def test_a_wallet_without_gas_asks_nobody_and_its_job_is_refused_once(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path) as desk:

        async def no_gas(payees: Any) -> GasMissing:
            assert payees == [an_offer().settlement.payee]
            return GasMissing(account=b"w" * 20, needed=2, have=1)

        desk.desk.search._gas = no_gas
        events = await desk.until_done(await waiting(desk, wait_ms=0))
        assert kinds(events) == ["queued", "matching", "failed"]
        assert events[-1]["code"] == "gas_short"
        assert desk.network.requests == []


async def test_who_has_money_for_one_only_still_goes_on_to_the_next_provider(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path, grants=False) as desk:
        events = await desk.until_done(await waiting(desk, wait_ms=0))
        assert kinds(events).count("refused") > 1, "a provider's fault is none of the wallet's"
        assert events[-1]["code"] == "no_match"


async def test_an_impatient_job_has_seconds_also_after_a_restart(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path, grants=False) as desk:
        job = await desk.desk.submit(PLAIN)
        await trio.sleep(1)
        journal = desk.journal.crash()
    await trio.sleep(3600)
    async with a_desk(tmp_path, journal) as again:
        assert "leased" in kinds(await again.until_done(job))


async def test_jobs_that_wait_do_not_look_when_nothing_changed(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: Any
):
    looks = 0
    honest = provider_search.shortlist

    def count(*args: Any, **kwargs: Any) -> Any:
        nonlocal looks
        looks += 1
        return honest(*args, **kwargs)

    monkeypatch.setattr(provider_search, "shortlist", count)
    async with a_desk(tmp_path) as desk:
        for _ in range(50):
            await waiting(desk, max_price=5)
        await trio.sleep(30)
        looks = 0
        await trio.sleep(3000)
        assert looks == 0
        desk.offer()
        await trio.sleep(5)
        assert looks == 50
        assert desk.network.requests == []


async def test_a_provider_that_waits_for_our_money_is_not_asked_for_more(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path, ends=False) as desk:
        await trio.sleep(0.01)
        desk.offer(free_slots=50, total_slots=50)
        for _ in range(10):
            await waiting(desk)
        await trio.sleep(20)
        assert len(desk.network.requests) == MAX_UNFUNDED
        first = next(iter(desk.desk.boards.values()))
        await first.record(LaneFunded(at=desk.clock.now_ms(), amount=1, transaction=b""))
        await trio.sleep(5)
        assert len(desk.network.requests) == MAX_UNFUNDED + 1


async def test_a_node_does_not_buy_from_itself(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        desk.intake.book.drop_expired(desk.clock.now_ms() + 10**6)
        now = desk.clock.now_ms()
        desk.intake.take(BUYER.sign(an_offer(provider=BUYER.key, issued_at=now, expires_at=now + 60_000)))
        events = await desk.until_done(await desk.desk.submit(PLAIN))
        assert kinds(events) == ["queued", "matching", "failed"]
        assert events[1]["matches"] == 0


async def test_who_is_left_alone_is_told_apart_from_whom_the_owner_denied(autojump_clock: MockClock, tmp_path: Path):
    other = a_signer("other")
    async with a_desk(tmp_path, shunned=(SELLER.key, other.key)) as desk:
        job = await waiting(desk, deny=(other.key.hex(),))
        await trio.sleep(1)
        (told,) = [event for event in await desk.told(job) if event["type"] == "waiting_for_offers"]
        assert told["rejected"] == [{"rule": "left_alone", "fails": 1, "only": 1}]
        assert (told["offers"], told["suggestions"]) == (1, [])
        desk.shunned = ()
        desk.offer()
        await trio.sleep(1)
        assert "leased" in kinds(await desk.told(job))


async def test_our_own_offers_are_not_counted(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        now = desk.clock.now_ms()
        desk.intake.take(offered_by(BUYER, machine="ours", issued_at=now, expires_at=now + 60_000))
        job = await waiting(desk)
        await trio.sleep(1)
        (told,) = [event for event in await desk.told(job) if event["type"] == "matching"]
        assert (told["offers"], told["matches"], told["rejected"]) == (1, 1, [])
