"""A provider is killed, its payer leaves: the watchtower it chose saves what was signed. Whole nodes, virtual time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from msgspec.structs import replace

from bootstrap.identity import peer_id_of
from node.money_at_risk import redeem_before_leaving, tower_views, watch_view
from node.trading_world import WatchSettings
from tests.simulation.marketplace import SETTINGS, JobScript, Marketplace, Participant, request, simulate
from tests.simulation.test_cheats import FUNDS, LONG, PRICE

EXIT_S = 120
"""The simulated escrow's window."""


async def _stay(participant: Participant) -> None:
    with trio.CancelScope():
        async with participant.running():
            await trio.sleep_forever()


async def _until(condition: Any, seconds: float = 120) -> None:
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.1)


def _people(market: Marketplace, *, watched: bool) -> tuple[Participant, Participant, Participant]:
    buyer, seller, tower = market.add("buyer", tokens=FUNDS), market.add("seller"), market.add("tower")
    seller.sells(PRICE)
    seller.job = JobScript(duration_ms=LONG)
    tower.settings = replace(SETTINGS, watch=WatchSettings(serve=True, clients=(seller.signer.key,)))
    if watched:
        address = f"/memory/0/p2p/{peer_id_of(tower.signer.key)}"
        seller.settings = replace(SETTINGS, watch=WatchSettings(towers={tower.signer.key: (address,)}))
    return buyer, seller, tower


async def _sell_for(buyer: Participant, seller: Participant, seconds: float) -> None:
    await _until(lambda: buyer.node is not None and len(buyer.node.intake.book) == 1)
    await buyer.node.buying.desk.submit(request(max_duration_ms=600_000))
    await _until(lambda: any(one.phase == "running" for one in seller.docker.containers.values()))
    await trio.sleep(seconds)


@pytest.mark.parametrize("watched", [True, False])
def test_a_provider_that_is_killed_is_paid_by_its_tower_while_its_payer_leaves(watched: bool) -> None:
    async def scenario(market: Marketplace) -> dict[str, Any]:
        buyer, seller, tower = _people(market, watched=watched)
        seen: dict[str, Any] = {}
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, seller, tower):
                nursery.start_soon(_stay, participant)
            await _sell_for(buyer, seller, 60)
            (summary,) = seller.node.selling.payee.summary()
            seen["towers"] = tower_views(seller.node.selling)
            seller.crash()
            # Its node is bent: it leaves at once, and takes everything it can.
            await buyer.node.buying.payer.begin_exit(seller.wallet.address, force=True)
            await trio.sleep(EXIT_S + 60)
            await buyer.node.buying.payer.finish_exit_when_due(seller.wallet.address)
            view = market.chain.view(buyer.wallet.address)
            seen |= {
                "signed": summary.signed,
                "earned": await view.token_balance(seller.wallet.address),
                "kept": await view.token_balance(buyer.wallet.address),
                "tower": await view.token_balance(tower.wallet.address),
                "watch": watch_view(tower.node),
            }
            nursery.cancel_scope.cancel()
        return seen

    seen: Any = simulate(1, scenario)
    assert seen["signed"] > 0
    assert seen["earned"] == (seen["signed"] if watched else 0)
    assert seen["kept"] + seen["earned"] == FUNDS
    assert seen["tower"] == 0
    if watched:
        assert [(one["lanes"], one["trouble"]) for one in seen["towers"]] == [(1, "")]
        assert (seen["watch"]["saved"]["units"], seen["watch"]["trouble"]) == (seen["signed"], "")
    else:
        assert (seen["watch"]["lanes"], seen["towers"]) == (0, [])


def test_a_tower_that_restarts_between_the_ticks_still_saves_it() -> None:
    async def scenario(market: Marketplace) -> tuple[int, int]:
        buyer, seller, tower = _people(market, watched=True)
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, seller, tower):
                nursery.start_soon(_stay, participant)
            await _sell_for(buyer, seller, 60)
            (summary,) = seller.node.selling.payee.summary()
            seller.crash()
            tower.crash()
            await buyer.node.buying.payer.begin_exit(seller.wallet.address, force=True)
            await trio.sleep(EXIT_S * 0.7)
            nursery.start_soon(_stay, tower)
            await trio.sleep(EXIT_S)
            earned = await market.chain.view(buyer.wallet.address).token_balance(seller.wallet.address)
            nursery.cancel_scope.cancel()
        return earned, summary.signed

    earned, signed = simulate(2, scenario)  # type: ignore[misc]
    assert earned == signed > 0


def test_a_node_that_goes_down_as_planned_takes_its_money_with_it() -> None:
    async def scenario(market: Marketplace) -> tuple[int, int]:
        buyer, seller, _ = _people(market, watched=False)
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, seller):
                nursery.start_soon(_stay, participant)
            await _sell_for(buyer, seller, 60)
            (summary,) = seller.node.selling.payee.summary()
            await redeem_before_leaving(seller.node)
            earned = await market.chain.view(buyer.wallet.address).token_balance(seller.wallet.address)
            await redeem_before_leaving(buyer.node)  # sells nothing: nothing to do
            nursery.cancel_scope.cancel()
        return earned, summary.signed

    earned, signed = simulate(3, scenario)  # type: ignore[misc]
    assert earned >= signed > 0


def test_a_chain_that_is_away_does_not_keep_a_node_from_going_down() -> None:
    async def scenario(market: Marketplace) -> float:
        buyer, seller, _ = _people(market, watched=False)
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, seller):
                nursery.start_soon(_stay, participant)
            await _sell_for(buyer, seller, 30)
            seller.node.selling.payee._chain.offline = True  # type: ignore[attr-defined]
            begun = trio.current_time()
            await redeem_before_leaving(seller.node)
            took = trio.current_time() - begun
            nursery.cancel_scope.cancel()
        return took

    assert simulate(4, scenario) <= 15  # type: ignore[operator]


def test_a_node_that_sells_nothing_any_more_still_takes_what_it_earned() -> None:
    async def scenario(market: Marketplace) -> tuple[int, int]:
        buyer, seller, _ = _people(market, watched=False)
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, seller):
                nursery.start_soon(_stay, participant)
            await _sell_for(buyer, seller, 60)
            (summary,) = seller.node.selling.payee.summary()
            seller.crash()
            seller.machine_classes.clear()
            await buyer.node.buying.payer.begin_exit(seller.wallet.address, force=True)
            nursery.start_soon(_stay, seller)
            await trio.sleep(EXIT_S / 2)
            assert seller.node.selling is None
            earned = await market.chain.view(buyer.wallet.address).token_balance(seller.wallet.address)
            nursery.cancel_scope.cancel()
        return earned, summary.signed

    earned, signed = simulate(5, scenario)  # type: ignore[misc]
    assert earned == signed > 0
