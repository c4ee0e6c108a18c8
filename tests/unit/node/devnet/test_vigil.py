"""Following a job while processes die. The processes are real and sleep; the job is a function that blocks."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

from market.errors import Unavailable
from node.devnet import vigil
from node.devnet.local_market import LocalMarket
from node.devnet.processes import Exit
from node.devnet.vigil import Followed, consequence, follow_watchfully

NAMES = ("chain", "introducer", "north", "requester")
WAIT_S = 20


@pytest.fixture
def market(tmp_path: Path):
    market = LocalMarket(tmp_path, outlive=False)
    for name in NAMES:
        market.processes.start(name, [sys.executable, "-c", "import time; time.sleep(600)"])
    yield market
    market.processes.stop(NAMES, grace_s=0.1)


class Job:
    """A job's story that ends when told to, or never."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.over = threading.Event()

    def follow(self) -> dict[str, Any]:
        self.begun.set()
        self.over.wait(WAIT_S)
        return {"type": "succeeded"}


async def watch(market: LocalMarket, job: Job, victim: str) -> tuple[Followed, list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []

    def tell(gone: Exit, text: str) -> None:
        told.append((gone.name, text))
        if victim == "introducer":
            job.over.set()

    async def strike() -> None:
        await trio.to_thread.run_sync(job.begun.wait)
        os.kill(market.processes.tickets()[victim].pid, signal.SIGKILL)

    with trio.fail_after(WAIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(strike)
            followed = await follow_watchfully(market, job.follow, tell)
    job.over.set()
    return followed, told


async def test_a_job_that_ends_in_peace(market: LocalMarket):
    job = Job()
    job.over.set()
    with trio.fail_after(WAIT_S):
        followed = await follow_watchfully(market, job.follow, lambda gone, text: None)
    assert followed == Followed(final={"type": "succeeded"})


async def test_a_dead_requester_ends_the_following_at_once(market: LocalMarket):
    followed, told = await watch(market, Job(), "requester")
    assert followed == Followed(deaths=(Exit(name="requester", code=-9),))
    assert told == [("requester", consequence("requester"))]


async def test_a_dead_introducer_does_not(market: LocalMarket):
    followed, _ = await watch(market, Job(), "introducer")
    assert followed == Followed(final={"type": "succeeded"}, deaths=(Exit(name="introducer", code=-9),))


async def test_a_dead_provider_bounds_the_wait(market: LocalMarket, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vigil, "PATIENCE_S", 0.2)
    followed, _ = await watch(market, Job(), "north")
    assert followed.final is None
    assert [gone.name for gone in followed.deaths] == ["north"]


async def test_a_stream_that_breaks_is_told_as_it_is(market: LocalMarket, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vigil, "_NOTICE_S", 0.01)
    error = Unavailable("the node stopped", code="node_stopped")

    def follow() -> dict[str, Any]:
        raise error

    with trio.fail_after(WAIT_S):
        assert await follow_watchfully(market, follow, lambda gone, text: None) == Followed(error=error)


def test_every_role_has_a_consequence_of_its_own():
    assert len({consequence(name) for name in (*NAMES, "west")}) == 5
