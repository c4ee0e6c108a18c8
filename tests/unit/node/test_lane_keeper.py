"""Money in idle lanes comes home: with consent at once, without it after the delay, and never out of a lane in use."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from ledger.payee import Payee
from ledger.payer import Payer
from ledger.ports import LaneKey
from ledger.voucher import SessionKey
from market import codec
from market.errors import PeerFault
from node import wire
from node.lane_keeper import LaneKeeper
from node.ports import PeerUnreachable
from tests.fakes.desks import RecordingNetwork
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import BUYER, SELLER
from tests.simulation.marketplace import SimulatedClock

DELAY_S, PATIENCE_S, DEPOSIT = 120, 30, 1_000


class Lane:
    """A payer with money in one lane, the keeper that brings it home, and the payee that is asked."""

    def __init__(self) -> None:
        clock = SimulatedClock()
        self.world = MemoryChain(clock, exit_delay_s=DELAY_S)
        self.wallet, payee_wallet = SessionKey(b"w" * 32), SessionKey(b"p" * 32)
        self.payee = payee_wallet.address
        for account in (self.wallet.address, self.payee):
            self.world.give_gas(account)
        self.world.mint(self.wallet.address, DEPOSIT)
        self.chain = self.world.view(self.wallet.address)
        self.payer = Payer(self.chain, MemoryJournal(), SessionKey(b"k" * 32), clock.now_ms)
        self.provider = Payee(self.world.view(self.payee), MemoryJournal(), payee_wallet, clock.now_ms)
        self.network = RecordingNetwork(BUYER.key)
        self.keeper = LaneKeeper(payer=self.payer, chain=self.chain, network=self.network, patience_s=PATIENCE_S)

    async def fund(self) -> None:
        """Pay in for a lease, and end the lease without its having cost anything."""
        await self.payer.reserve(b"l" * 16, self.payee, DEPOSIT)
        await self.payer.ensure_funded(b"l" * 16)

    async def finish_lease(self) -> None:
        await self.payer.release(b"l" * 16)

    async def held(self) -> int:
        lane = await self.chain.lane(self.payer.lane(self.payee))
        return lane.balance - lane.claimed

    async def at_home(self) -> int:
        return await self.chain.token_balance(self.wallet.address)

    async def keep(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.keeper.sweep_forever()


async def a_lane(*, over: bool = True) -> Lane:
    lane = Lane()
    await lane.fund()
    if over:
        await lane.finish_lease()
    lane.keeper.learn(lane.payee, SELLER.key)
    return lane


class HonestNetwork(RecordingNetwork):
    """Answers proposals to close as the payee's node does."""

    lane: Lane

    async def request(
        self, peer: bytes, protocol: str, request: bytes, *, timeout: float, max_response: int = 65536
    ) -> bytes:
        asked = codec.unpack(request)
        assert (peer, protocol) == (SELLER.key, wire.PROTOCOL_CLOSE)
        key = LaneKey(payer=asked["payer"], payee=asked["payee"], signer=asked["signer"])
        cumulative = int.from_bytes(asked["cumulative"], "big")
        try:
            return codec.pack({"consent": await self.lane.provider.consent_close(key, cumulative, asked["deadline"])})
        except PeerFault as fault:
            return codec.pack({"refused": fault.code})


def honest(lane: Lane) -> None:
    network = HonestNetwork(BUYER.key)
    network.lane = lane
    lane.network = network
    lane.keeper = LaneKeeper(payer=lane.payer, chain=lane.chain, network=network, patience_s=PATIENCE_S)
    lane.keeper.learn(lane.payee, SELLER.key)


async def test_with_consent_the_rest_comes_home_at_once(autojump_clock: MockClock):
    lane = await a_lane()
    honest(lane)
    await lane.keep(15)
    assert (await lane.held(), await lane.at_home()) == (0, DEPOSIT)


async def test_without_an_answer_it_comes_home_after_patience_and_delay(autojump_clock: MockClock):
    lane = await a_lane()
    await lane.keep(PATIENCE_S - 5)
    assert (await lane.chain.lane(lane.payer.lane(lane.payee))).exit_at == 0, "an absent provider is given a while"
    await lane.keep(DELAY_S)
    assert await lane.held() == DEPOSIT
    await lane.keep(60)
    assert (await lane.held(), await lane.at_home()) == (0, DEPOSIT)


@pytest.mark.parametrize("answer", [{"consent": bytes(64)}, {"consent": b""}, {"consent": b"x" * 64}])
async def test_a_consent_that_is_none_costs_trust_and_no_money(autojump_clock: MockClock, answer: dict[str, Any]):
    lane = await a_lane()
    lane.network.answer = lambda *_asked: codec.pack(answer)
    await lane.keeper.step(lane.payee)
    assert lane.network.penalties
    assert await lane.held() == DEPOSIT
    await lane.keep(PATIENCE_S + DELAY_S + 60)
    assert (await lane.held(), await lane.at_home()) == (0, DEPOSIT)


async def test_a_refusal_is_no_fault(autojump_clock: MockClock):
    lane = await a_lane()
    lane.network.answer = lambda *_asked: codec.pack({"refused": "lane_in_use"})
    await lane.keeper.step(lane.payee)
    assert lane.network.penalties == []


async def test_a_lane_that_a_lease_pays_from_is_left_alone(autojump_clock: MockClock):
    lane = await a_lane(over=False)
    honest(lane)
    assert lane.keeper.in_use(lane.payee)
    await lane.keep(PATIENCE_S + DELAY_S + 60)
    assert await lane.held() == DEPOSIT
    assert (await lane.chain.lane(lane.payer.lane(lane.payee))).epoch == 0


async def test_two_steps_at_once_close_once(autojump_clock: MockClock):
    lane = await a_lane()
    honest(lane)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(lane.keeper.step, lane.payee)
    assert (await lane.chain.lane(lane.payer.lane(lane.payee))).epoch == 1
    assert await lane.at_home() == DEPOSIT


async def test_a_lane_whose_provider_is_unknown_comes_home_too(autojump_clock: MockClock):
    """After a restart nobody remembers which node stood behind a payee."""
    lane = await a_lane()
    lane.keeper = LaneKeeper(payer=lane.payer, chain=lane.chain, network=lane.network, patience_s=PATIENCE_S)
    await lane.keep(PATIENCE_S + DELAY_S + 60)
    assert (await lane.held(), await lane.at_home()) == (0, DEPOSIT)
    assert lane.network.requests == []


async def test_a_chain_that_is_away_stops_nothing_for_good(autojump_clock: MockClock):
    lane = await a_lane()
    honest(lane)
    lane.chain.offline = True
    await lane.keep(25)
    lane.chain.offline = False
    await lane.keep(25)
    assert await lane.held() == 0


async def test_an_unreachable_provider_is_not_punished(autojump_clock: MockClock):
    lane = await a_lane()

    def away(*_asked: Any) -> bytes:
        raise PeerUnreachable("away")

    lane.network.answer = away
    await lane.keep(100)
    assert lane.network.penalties == []


async def test_an_absent_provider_is_asked_less_and_less_and_named_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "node.lane_keeper")
    lane = await a_lane()
    for _ in range(100):
        await lane.keeper.step(lane.payee)
        await trio.sleep(0.2)
    assert 4 <= len(lane.network.requests) <= 6, "after 0, 0.5, 1.5, 3.5, 7.5 and 15.5 seconds"
    assert [record.message.split(": ")[0] for record in caplog.records] == [
        f"provider of lane {lane.payee.hex()[:8]} is away"
    ]
    lane.network.answer = lambda *_asked: codec.pack({"refused": "lane_in_use"})
    await trio.sleep(15)
    for _ in range(3):
        await lane.keeper.step(lane.payee)
    assert [record.message for record in caplog.records][1:] == [
        f"provider of lane {lane.payee.hex()[:8]} answers again"
    ]


async def test_an_absent_chain_is_named_once(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "node.lane_keeper")
    lane = await a_lane()
    lane.chain.offline = True
    await lane.keep(100)
    assert len(caplog.records) == 1
