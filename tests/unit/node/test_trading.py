"""A trading node as a whole: it starts, stops at once, starts again, and does nothing it was not asked to."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from node import wire
from node.trading_world import WatchSettings
from tests.simulation.marketplace import JobScript, Marketplace, Participant, request, simulate


async def _until(condition: Any, seconds: float = 60) -> None:
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.1)


def test_a_node_without_machines_sells_nothing():
    async def scenario(market: Marketplace) -> Any:
        buyer = market.add("buyer")
        async with market.introducing(), buyer.running() as node:
            await trio.sleep(30)
            return node.selling, list(node.intake.book.live(buyer.clock.now_ms()))

    assert simulate(1, scenario) == (None, [])


def test_a_seller_is_heard_of_by_those_who_come_later():
    async def scenario(market: Marketplace) -> Any:
        seller, buyer = market.add("seller"), market.add("buyer")
        seller.sells(100)
        seller.sells(200)
        async with trio.open_nursery() as nursery, market.introducing():
            nursery.start_soon(_stay, seller)
            await trio.sleep(30)
            nursery.start_soon(_stay, buyer)
            await _until(lambda: buyer.node is not None and len(buyer.node.intake.book) == 2, 5)
            await trio.sleep(300)
            still = len(buyer.node.intake.book)
            nursery.cancel_scope.cancel()
        return still

    assert simulate(1, scenario) == 2


def test_an_offer_of_a_dead_node_disappears():
    async def scenario(market: Marketplace) -> Any:
        seller, buyer = market.add("seller"), market.add("buyer")
        seller.sells(100)
        async with trio.open_nursery() as nursery, market.introducing():
            nursery.start_soon(_stay, seller)
            nursery.start_soon(_stay, buyer)
            await _until(lambda: buyer.node is not None and len(buyer.node.intake.book) == 1)
            seller.crash()
            await trio.sleep(wire.OFFER_TTL_MS / 1000 + 15)
            left = len(buyer.node.intake.book)
            nursery.cancel_scope.cancel()
        return left

    assert simulate(1, scenario) == 0


def test_stopping_takes_no_time_and_the_next_start_goes_on():
    async def scenario(market: Marketplace) -> Any:
        seller, buyer = market.add("seller"), market.add("buyer", tokens=10**9)
        seller.sells(100_000)
        seller.job = JobScript(duration_ms=60_000)
        stops = []
        async with trio.open_nursery() as nursery, market.introducing():
            nursery.start_soon(_stay, seller)
            for run_s in (5, 10, 1, 200):
                async with buyer.running() as node:
                    await _until(lambda node=node: len(node.intake.book) == 1)
                    if not await buyer.journal.streams("job/"):
                        await node.buying.desk.submit(request())
                    with trio.move_on_after(run_s):
                        await _until(lambda node=node: not node.buying.desk.jobs, run_s + 1)
                    left = dict(node.buying.desk.jobs)
                    stops.append(trio.current_time())
                stops[-1] = trio.current_time() - stops[-1]
            nursery.cancel_scope.cancel()
        return stops, left

    stops, left = simulate(1, scenario)  # type: ignore[misc]
    assert left == {}
    assert max(stops) < 1


async def _stay(participant: Participant) -> None:
    with trio.CancelScope():
        async with participant.running():
            await trio.sleep_forever()


@pytest.mark.parametrize(("serve", "gas"), [(True, False), (True, True), (False, False)])
def test_a_watchtower_without_gas_is_told_so_once_at_its_start(
    serve: bool, gas: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(market: Marketplace) -> Any:
        tower = market.add("tower")
        tower.settings = replace(tower.settings, watch=WatchSettings(serve=serve))
        if not gas:
            market.chain._now().gas[tower.wallet.address] = 0
        async with market.introducing(), tower.running():
            await trio.sleep(300)
        return "0x" + tower.wallet.address.hex()

    with caplog.at_level(logging.WARNING, logger="node.trading"):
        account = simulate(1, scenario)
    told = [one.getMessage() for one in caplog.records if "no gas" in one.getMessage()]
    assert len(told) == (serve and not gas)
    assert all(account in line for line in told)
