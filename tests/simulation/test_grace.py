"""A payment that does not come: at G1 the job is frozen and nothing more is given away, at G2 it ends; both were told
before the start what that can cost at most."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from market import money
from market.lease import Stage, at_risk
from node.report_desk import ReportDesk
from node.views import lease_line
from tests.simulation.marketplace import TERMS, JobScript, Marketplace, Participant
from tests.simulation.test_cheats import LEASE, LONG, PRICE, TRAVEL_MS, play, until_running

FREE_MS = TERMS.tick_ms + TERMS.grace_ms


def silence(after_s: float, seen: dict[str, Any]) -> Any:
    """Cut the two off from each other for good, and look at the job every second."""

    async def act(market: Marketplace, buyer: Participant, seller: Participant) -> None:
        while not seller.node.selling.desk.boards:
            await trio.sleep(0.01)
        (board,) = seller.node.selling.desk.boards.values()
        seen["told"] = lease_line(board)
        await until_running(seller)
        await trio.sleep(after_s)
        market.network.partition((buyer.signer.key,), (seller.signer.key,))
        (container,) = seller.docker.containers.values()
        seen["life"] = []
        while board.state.stage is Stage.RUNNING:
            now_ms = trio.current_time() * 1000
            late_ms = seller.clock.now_ms() - board.state.last_paid_at
            free = seller.node.selling.machines[0].inventory.free_slots
            seen["life"].append((late_ms, container.paused_at is not None, container.ran_ms(now_ms), free))
            await trio.sleep(1)

    return act


@pytest.mark.parametrize("after_s", [1, 12, 33])
def test_an_unpaid_job_is_frozen_at_g1_keeps_its_slots_and_ends_at_g2(after_s: float) -> None:
    seen: dict[str, Any] = {}
    after = play(silence(after_s, seen), job=JobScript(duration_ms=LONG))
    life = seen["life"]
    running = [one for one in life if not one[1]]
    frozen = [one for one in life if one[1]]
    assert frozen, "it was never frozen"
    assert max((late_ms for late_ms, *_ in running), default=0) <= FREE_MS + TRAVEL_MS
    # G1: frozen a tick and the grace time after the last payment, not earlier; the meter stands still, no slot is free.
    assert FREE_MS - TRAVEL_MS <= frozen[0][0] <= FREE_MS + 2 * TRAVEL_MS
    assert len({ran_ms for _, _, ran_ms, _ in frozen}) == 1
    assert {free for *_, free in frozen} == {0}
    # G2: as long again, and it is over.
    assert frozen[-1][0] <= FREE_MS + TERMS.grace_ms + 2 * TRAVEL_MS
    assert (after.containers, after.free_slots) == (0, 1)
    bound = seen["told"]["at_risk"]["units"]
    assert bound == at_risk(LEASE) == money.amount_due(PRICE, FREE_MS)
    assert after.worked - after.earned <= bound + money.amount_due(PRICE, TRAVEL_MS)
    assert seen["told"]["stage"] in ("granted", "funded"), "told before anything had begun"


def test_both_sides_are_told_the_bound_before_the_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    after = play(job=JobScript(duration_ms=20_000))
    assert after.kinds.index("leased") < after.kinds.index("running")
    (line,) = [one.message for one in caplog.records if "can be lost" in one.message]
    assert money.format_tokens(at_risk(LEASE)) in line
    assert money.format_tokens(LEASE.cap) in line


def test_a_requester_that_comes_back_before_g2_pays_and_the_job_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A requester that is away for longer than G1 and shorter than G2 costs itself a pause, and nobody anything."""
    honest, quiet = ReportDesk._answer, [True]

    async def late(desk: ReportDesk, peer: bytes, request: bytes) -> bytes:
        if quiet[0] and trio.current_time() > 40:
            with trio.move_on_after(FREE_MS / 1000 - 3):
                await trio.sleep_forever()
            quiet[0] = False
        return await honest(desk, peer, request)

    monkeypatch.setattr(ReportDesk, "_answer", late)
    after = play(job=JobScript(duration_ms=60_000))
    assert after.state == "succeeded"
    assert after.earned == after.worked == money.amount_due(PRICE, 60_000)
