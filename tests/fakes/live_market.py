"""A live network of nodes that all buy and sell, in a few processes of this machine: real hosts, gossip and books.

``python -m tests.fakes.live_market NUMBER PROCESSES NODES`` runs every ``PROCESSES``-th of the nodes and does what it
is told on standard input, a line of JSON each; :func:`a_live_market` starts these workers and tells them.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import trio

from node.libp2p_network import open_libp2p_network
from node.peer_exchange import PeerExchange
from node.system_clock import SystemClock
from tests.fakes.busy_market import (
    MODELS,
    SLOTS,
    Deal,
    Trader,
    a_trader,
    burst,
    half_full,
    play_alone,
    play_along,
)

JOIN_WITHIN_S = 90.0
ANSWER_WITHIN_S = 120.0
SETTLED_S = 2.0
"""Between two bursts: the tags of the leases that ended spread."""


class LiveMarket:
    """The workers of a running market, told all at once."""

    def __init__(self, workers: Sequence[trio.Process], nodes: int) -> None:
        self._workers = workers
        self._nodes = nodes
        self._answers = [_lines(worker.stdout) for worker in workers if worker.stdout is not None]

    async def burst(self, bids: int, *, within: float, seed: int, replay: bool = True) -> list[Deal]:
        """So many auctions within so many seconds. Half of all slots are leased before and after."""
        share = bids // len(self._workers)
        seeds = [seed * len(self._workers) + number for number in range(len(self._workers))]
        answers = await self._tell(do="burst", bids=share, within=within, seed=seeds, replay=replay)
        await self._tell(do="rest")
        await trio.sleep(SETTLED_S)
        return [
            Deal(**(deal | {"refusals": tuple(deal["refusals"])})) for answer in answers for deal in answer["deals"]
        ]

    async def used(self) -> float:
        """Share of all slots that is leased now."""
        return sum(answer["used"] for answer in await self._tell(do="look")) / (self._nodes * len(MODELS) * SLOTS)

    async def join(self) -> None:
        """Wait until every node knows all offers."""
        with trio.fail_after(JOIN_WITHIN_S):
            first = await self._tell_one(0, {"introducers": []})
            for number in range(1, len(self._workers)):
                await self._tell_one(number, first)
            while min(answer["offers"] for answer in await self._tell(do="look")) < self._nodes * len(MODELS):
                await trio.sleep(0.5)

    async def _tell(self, **command: Any) -> list[dict[str, Any]]:
        """A list among the values holds one for each worker."""
        answers: dict[int, dict[str, Any]] = {}

        async def tell_one(number: int) -> None:
            told = {name: value[number] if isinstance(value, list) else value for name, value in command.items()}
            answers[number] = await self._tell_one(number, told)

        with trio.fail_after(ANSWER_WITHIN_S):
            async with trio.open_nursery() as nursery:
                for number in range(len(self._workers)):
                    nursery.start_soon(tell_one, number)
        return [answers[number] for number in range(len(self._workers))]

    async def _tell_one(self, number: int, command: dict[str, Any]) -> dict[str, Any]:
        stdin = self._workers[number].stdin
        assert stdin is not None
        await stdin.send_all(json.dumps(command).encode() + b"\n")
        return await anext(self._answers[number])


@asynccontextmanager
async def a_live_market(nodes: int, *, processes: int) -> AsyncIterator[LiveMarket]:
    """So many nodes in so many processes, every one with all offers in its book; the processes end with the block."""
    async with trio.open_nursery() as nursery:
        workers: list[trio.Process] = []
        for number in range(processes):
            words = [sys.executable, "-m", "tests.fakes.live_market", *map(str, (number, processes, nodes))]
            start = partial(trio.run_process, words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
            workers.append(await nursery.start(start))
        market = LiveMarket(workers, nodes)
        await market.join()
        yield market
        nursery.cancel_scope.cancel()


# --- a worker ---


async def _work(number: int, processes: int, nodes: int) -> None:
    commands = _lines(trio.lowlevel.FdStream(sys.stdin.fileno()))
    introducers = tuple((await anext(commands))["introducers"])
    async with AsyncExitStack() as stack:
        traders: list[Trader] = []
        for place in range(number, nodes, processes):
            trader, addresses = await stack.enter_async_context(_a_live_trader(place, introducers))
            traders.append(trader)
            introducers = introducers or addresses
        _say({"introducers": introducers})
        async for command in commands:
            _say(await _do(command, traders))


async def _do(command: dict[str, Any], traders: list[Trader]) -> dict[str, Any]:
    match command["do"]:
        case "burst":
            (play_along if command["replay"] else play_alone)(traders)
            luck = random.Random(command["seed"])
            deals = await burst(traders, command["bids"], luck, within=command["within"])
            return {"deals": [asdict(deal) for deal in deals]}
        case "rest":
            await half_full(traders)
            return {}
        case _:
            offers = min(len(trader.intake.book) for trader in traders)
            return {"offers": offers, "used": sum(trader.used for trader in traders)}


@asynccontextmanager
async def _a_live_trader(place: int, introducers: tuple[str, ...]) -> AsyncIterator[tuple[Trader, tuple[str, ...]]]:
    seed = (place + 1).to_bytes(4, "big") * 8
    luck = random.Random(place)
    async with (
        open_libp2p_network(seed=seed, listen=("/ip4/127.0.0.1/tcp/0",), introducers=introducers) as network,
        trio.open_nursery() as nursery,
    ):
        exchange = PeerExchange(network)
        exchange.register()
        nursery.start_soon(exchange.exchange_forever)
        async with a_trader(network, seed, SystemClock(), luck) as trader:
            trader.fill_half(luck)
            yield trader, network.addresses()
        nursery.cancel_scope.cancel()


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[dict[str, Any]]:
    rest = b""
    async for data in stream:
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield json.loads(line)


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    trio.run(_work, *map(int, sys.argv[1:]))
