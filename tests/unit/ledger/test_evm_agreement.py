"""A single endpoint that lies about a lane moves nothing: two are read, and the cautious reading counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from eth_abi import encode

from ledger.deploy import deploy, fund
from ledger.evm_agreement import cautious_lane, no_lane
from ledger.evm_chain import EvmChain, open_evm_chain
from ledger.local_chain import DEV_KEY
from ledger.ports import LaneKey, LaneOnChain
from ledger.voucher import SessionKey
from market.errors import Unavailable
from tests.fakes.faulty_rpc import FaultyRpc, new_chain, serve_rpc

SECRET = b"\x21" * 32
PAYER, PAYEE = SessionKey(SECRET), b"\x22" * 20
LANE = LaneKey(PAYER.address, PAYEE, PAYER.address)
TRUE = LaneOnChain(balance=100, delay_s=77)


class Liar(FaultyRpc):
    """Tells one lane otherwise than it is."""

    lie: LaneOnChain | None = None

    def answer(self, method: str, parameters: list[Any]) -> Any:
        true = super().answer(method, parameters)
        if self.lie is None or method != "eth_call" or len(true) != 2 + 5 * 64:
            return true
        told = (self.lie.balance, self.lie.claimed, self.lie.exit_at, self.lie.delay_s, self.lie.epoch)
        return "0x" + encode(["uint256"] * 5, told).hex()


@pytest.fixture
async def world() -> AsyncIterator[tuple[list[Liar], EvmChain]]:
    chain = new_chain()
    endpoints = [Liar(chain) for _ in range(3)]
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serve_rpc(one)) for one in endpoints]
        deployed = await deploy(urls[0], DEV_KEY, exit_delay_s=77)
        await fund(urls[0], DEV_KEY, PAYER.address, token=deployed.token, units=1000, gas_wei=10**18)
        view = await stack.enter_async_context(
            open_evm_chain(
                rpc_url=urls,
                chain_id=deployed.chain_id,
                escrow=deployed.escrow,
                account_key=SECRET,
                confirmations=0,
                poll_ms=5,
            )
        )
        await view.deposit(PAYEE, PAYER.address, 100)
        yield endpoints, view


async def test_the_odd_one_of_three_is_outvoted_and_named(
    world: tuple[list[Liar], EvmChain], caplog: pytest.LogCaptureFixture
) -> None:
    endpoints, chain = world
    endpoints[0].lie = LaneOnChain(balance=9, claimed=5, delay_s=77)
    assert await chain.lane(LANE) == TRUE
    assert "contradict each other" in caplog.text


async def test_of_two_the_cautious_one_counts(world: tuple[list[Liar], EvmChain]) -> None:
    endpoints, chain = world
    endpoints[2].dead = True
    endpoints[0].lie = LaneOnChain(balance=900, claimed=5, exit_at=0, delay_s=900)
    assert await chain.lane(LANE) == TRUE
    endpoints[0].lie = LaneOnChain(balance=9, claimed=0, exit_at=44, delay_s=7)
    assert await chain.lane(LANE) == LaneOnChain(balance=9, exit_at=44, delay_s=7)


async def test_nothing_is_deposited_into_a_lane_that_is_disputed(world: tuple[list[Liar], EvmChain]) -> None:
    endpoints, chain = world
    endpoints[2].dead = True
    endpoints[0].lie = LaneOnChain(balance=9, delay_s=77)
    with pytest.raises(Unavailable) as refused:
        await chain.deposit(PAYEE, PAYER.address, 91)
    assert refused.value.code == "chain_disputed"
    endpoints[0].lie = None
    assert (await chain.lane(LANE)) == TRUE


async def test_one_that_pretends_to_be_at_the_beginning_does_not_empty_the_lane(
    world: tuple[list[Liar], EvmChain],
) -> None:
    endpoints, chain = world
    for _ in range(10):
        endpoints[1].chain.mine()
    endpoints[0].canned["eth_blockNumber"] = hex(1)
    assert await chain.lane(LANE) == TRUE


async def test_an_endpoint_that_lags_is_not_taken_at_its_word_that_there_are_no_events(
    world: tuple[list[Liar], EvmChain],
) -> None:
    endpoints, chain = world
    last = (await chain.head()).number
    for lagging in endpoints[:2]:
        lagging.canned["eth_blockNumber"] = hex(1)
        lagging.canned["eth_getLogs"] = []
    assert [event.kind for event in await chain.events(0, last)] == ["Deposited"]
    endpoints[2].dead = True
    with pytest.raises(Unavailable):
        await chain.events(0, last)


def test_cautious_is_the_least_money_and_the_first_exit() -> None:
    views = [
        LaneOnChain(balance=10, claimed=4, exit_at=0, epoch=3, delay_s=60),
        LaneOnChain(balance=12, claimed=2, exit_at=99, epoch=2, delay_s=90),
        LaneOnChain(balance=11, claimed=3, exit_at=70, epoch=4, delay_s=80),
    ]
    assert cautious_lane(views) == LaneOnChain(balance=10, claimed=2, exit_at=70, epoch=2, delay_s=60)
    with pytest.raises(Unavailable):
        no_lane(views)
