"""The buying desk when its own disk is full: the job waits, longer each time, and the node lives."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import trio

from market.errors import Unavailable
from node.active_job import Job
from node.job_journal import history, state_of
from node.requester import RequesterDesk
from tests.simulation.marketplace import JobScript, Marketplace, Participant, request, simulate


class FullDisk:
    """Refuses the first ``times`` events of a kind, and notes when each was tried."""

    def __init__(self, kind: str, times: int) -> None:
        self.kind, self.left = kind, times
        self.tried: list[float] = []
        self._tell = RequesterDesk.tell

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def tell(desk: RequesterDesk, job: Job, kind: str, detail: dict[str, Any]) -> None:
            if kind == self.kind:
                self.tried.append(trio.current_time())
                self.left -= 1
                if self.left >= 0:
                    raise Unavailable("the disk is full", code="disk_full")
            await self._tell(desk, job, kind, detail)

        monkeypatch.setattr(RequesterDesk, "tell", tell)


def buy(*, sellers: int = 1) -> str:
    """One job from its submission to its end; returns the state its owner sees."""

    async def scenario(market: Marketplace) -> str:
        buyer = market.add("buyer", tokens=10_000_000_000)
        for number in range(sellers):
            seller = market.add(f"seller{number}")
            seller.sells(1_000_000)
            seller.job = JobScript(duration_ms=5_000)
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in market.participants.values():
                nursery.start_soon(_stay, participant)
            with trio.fail_after(60):
                while buyer.node is None or len(buyer.node.intake.book) < sellers:
                    await trio.sleep(0.1)
            job_id = await buyer.node.buying.desk.submit(request())
            with trio.fail_after(600):
                while job_id in buyer.node.buying.desk.jobs:
                    await trio.sleep(0.5)
            state = state_of(await history(buyer.journal, job_id))
            nursery.cancel_scope.cancel()
        return state

    return str(simulate(1, scenario))


async def _stay(participant: Participant) -> None:
    async with participant.running():
        await trio.sleep_forever()


def test_the_end_of_a_job_is_written_as_soon_as_there_is_room(monkeypatch: pytest.MonkeyPatch):
    disk = FullDisk("succeeded", times=6)
    disk.patch(monkeypatch)
    assert buy() == "succeeded"
    assert len(disk.tried) == 7


def test_a_job_that_nobody_takes_ends_though_the_disk_was_full(monkeypatch: pytest.MonkeyPatch):
    disk = FullDisk("failed", times=2)
    disk.patch(monkeypatch)
    assert buy(sellers=0) == "failed"
    assert len(disk.tried) == 3


def test_a_full_disk_is_asked_ever_more_rarely(monkeypatch: pytest.MonkeyPatch):
    disk = FullDisk("succeeded", times=8)
    disk.patch(monkeypatch)
    buy()
    gaps = [later - earlier for earlier, later in pairwise(disk.tried)]
    assert max(gaps[-3:]) > 3 * gaps[0]
    assert max(gaps) < 30
