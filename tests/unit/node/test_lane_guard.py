"""A payer that leaves: what it signed is redeemed at once, its jobs end, and a poor provider stays alive."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from market import money
from market.lease import OVER
from tests.fakes.memory_chain import MemoryChain
from tests.simulation.marketplace import JobScript, Marketplace, Participant
from tests.simulation.test_cheats import LEASE, LONG, PRICE, TRAVEL_MS, play, until_running

LOOK_S = 15
"""An eighth of the simulated escrow's exit delay."""


def leave(after_s: float, *, gas: bool = True) -> Any:
    """Start an exit by force while the job runs; without ``gas`` the provider cannot pay for a transaction."""

    async def act(market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(after_s)
        if not gas:
            _take_gas(market.chain, seller)
        await buyer.node.buying.payer.begin_exit(seller.wallet.address, force=True)

    return act


def _take_gas(chain: MemoryChain, seller: Participant) -> None:
    chain._now().gas[seller.wallet.address] = 0


@pytest.mark.parametrize("after_s", [7, 23])
def test_a_payer_that_leaves_pays_what_it_signed_and_gets_no_more_work(after_s: int):
    seen = play(leave(after_s), job=JobScript(duration_ms=LONG))
    assert seen.stages <= OVER
    assert (seen.containers, seen.free_slots) == (0, 1)
    assert seen.earned > 0
    assert seen.worked - seen.earned <= LEASE.exposure + money.amount_due(PRICE, TRAVEL_MS)
    assert seen.ran_ms <= after_s * 1_000 + (LOOK_S + 2) * 1_000
    assert seen.spent == seen.earned + seen.lane.balance - seen.lane.claimed


def test_a_provider_that_cannot_pay_for_gas_goes_on():
    """What it holds is paid only because this payer closes the lane fairly; its node must live either way."""
    seen = play(leave(7, gas=False), job=JobScript(duration_ms=LONG))
    assert seen.stages <= OVER
    assert (seen.containers, seen.free_slots) == (0, 1)
    assert seen.spent == seen.earned


def test_lanes_without_a_stake_are_not_asked_about():
    async def act(_market: Marketplace, _buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        at_stake.append(len(seller.node.selling.guard.lanes_at_stake()))
        await trio.sleep(200)
        at_stake.append(len(seller.node.selling.guard.lanes_at_stake()))

    at_stake: list[int] = []
    play(act, job=JobScript(duration_ms=10_000))
    assert at_stake == [1, 0]
