"""Streams of a lease: a few at a time, ended with the stage that allowed them, and nothing remembered afterwards."""

from __future__ import annotations

import pytest
import trio

from market.errors import PeerFault, Unavailable
from market.lease import CancelRequested, LaneFunded, Stage
from node.lease_streams import StreamPlaces, beside, while_stage
from node.ports import PeerUnreachable
from tests.fakes.desks import a_board
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import NOW


def test_places_are_limited_for_each_thing_and_free_again():
    places = StreamPlaces()
    with places.place("a", most=2) as first, places.place("a", most=2) as second, places.place("a", most=2) as third:
        assert (first, second, third) == (True, True, False)
        with places.place("b", most=1) as other:
            assert other
    with places.place("a", most=1) as again:
        assert again
    assert not places._taken


def test_a_place_is_free_again_after_a_failure():
    places = StreamPlaces()
    with pytest.raises(PeerUnreachable), places.place("a", most=1):
        raise PeerUnreachable
    assert not places._taken


async def test_work_ends_the_moment_its_stage_does():
    board = await a_board(MemoryJournal())
    await board.record(LaneFunded(at=NOW, amount=1))
    ended = trio.Event()

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            with pytest.raises(Unavailable) as moved:
                await while_stage(board, {Stage.FUNDED}, work)
            assert moved.value.code == "wrong_stage"

        nursery.start_soon(serve)
        await trio.testing.wait_all_tasks_blocked()
        assert not ended.is_set()
        await board.record(CancelRequested(at=NOW))
        with trio.fail_after(5):
            await ended.wait()


async def test_work_that_is_done_outlives_no_watcher():
    board = await a_board(MemoryJournal())
    await while_stage(board, {Stage.GRANTED}, trio.lowlevel.checkpoint)


@pytest.mark.parametrize("error", [PeerUnreachable("x"), PeerFault("x", code="x")])
async def test_what_either_side_raises_comes_out_as_it_is(error: Exception):
    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    for watch, work in ((trio.sleep_forever, fails), (fails, trio.sleep_forever)):
        with pytest.raises(type(error)):
            await beside(watch, work)


async def test_a_disk_that_fails_is_no_surprise():
    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise OSError(28, "No space left on device")

    with pytest.raises(Unavailable):
        await while_stage(await a_board(MemoryJournal()), {Stage.GRANTED}, fails)
