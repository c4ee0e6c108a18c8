"""Offers say which images are here: by digest alone, no more than fit, and as the engine has them today."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from market.records import Offer
from market.signing import verify
from node.cached_images import MAX_IMAGES, REFRESH_S, CachedImages, digests_of
from node.machine import Machine
from tests.fakes.desks import machine_class
from tests.fakes.memory_engine import MemoryDocker, MemoryEngine
from tests.fakes.samples import NOW, SELLER


def a_digest(number: int) -> str:
    return f"sha256:{number:064x}"


class Shelf:
    """Two machines of one host and its engine."""

    def __init__(self) -> None:
        self.docker = MemoryDocker(lambda: NOW)
        self.docker.images = {a_digest(1): "own/secret-project:v2"}
        self.machines = [Machine(machine_class(name=name), SELLER) for name in ("m0", "m1")]
        self.posts = 0
        self.images = CachedImages(MemoryEngine(self.docker, "node"), self.machines, self._posted)

    def _posted(self) -> None:
        self.posts += 1


async def test_every_machine_of_the_host_shows_its_images():
    shelf = Shelf()
    await shelf.images.refresh()
    assert [machine.images for machine in shelf.machines] == [(a_digest(1),)] * 2
    assert shelf.machines[0].post(NOW, ()).record.images == (a_digest(1),)
    assert shelf.posts == 1


async def test_nothing_is_posted_when_nothing_changed():
    shelf = Shelf()
    for _ in range(3):
        await shelf.images.refresh()
    assert shelf.posts == 1


async def test_what_was_pulled_or_removed_since_is_known_within_a_minute(autojump_clock: MockClock):
    shelf = Shelf()
    seen = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shelf.images.watch_forever)
        for images in ({a_digest(1): "", a_digest(2): ""}, {a_digest(2): ""}, {}):
            await trio.sleep(1)
            shelf.docker.images = dict(images)
            await trio.sleep(REFRESH_S)
            seen.append(shelf.machines[1].images)
        nursery.cancel_scope.cancel()
    assert seen == [(a_digest(1), a_digest(2)), (a_digest(2),), ()]


async def test_an_engine_that_is_away_for_a_while_changes_nothing(autojump_clock: MockClock):
    shelf = Shelf()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shelf.images.watch_forever)
        await trio.sleep(1)
        shelf.docker.go_down()
        await trio.sleep(3 * REFRESH_S)
        assert shelf.machines[0].images == (a_digest(1),)
        shelf.docker.come_back()
        shelf.docker.images = {a_digest(3): ""}
        await trio.sleep(REFRESH_S)
        assert shelf.machines[0].images == (a_digest(3),)
        nursery.cancel_scope.cancel()


def test_only_digests_are_shown_and_no_more_than_an_offer_holds():
    present = {a_digest(number): "name" for number in range(40, 0, -1)} | {"own/secret:v1": "x", "sha256:12": "y"}
    shown = digests_of(present)
    assert shown == tuple(a_digest(number) for number in range(40 - MAX_IMAGES + 1, 41))
    machine = Machine(machine_class(), SELLER)
    machine.images = shown
    assert verify(machine.post(NOW, ()).raw, Offer).record.images == shown
