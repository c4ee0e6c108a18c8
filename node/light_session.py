"""One look at the market over libp2p, from nothing to plain data: no home, no key file, no wallet, no node.

The connection's identity is drawn for the occasion and forgotten with it; nothing listens, and nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import trio
from msgspec import Struct
from msgspec.structs import replace

from market.errors import FabricError
from node.control import Json, OfferView
from node.history_desk import HistoryRequest
from node.job_file.facts import job_facts
from node.job_file.request import JobRequest
from node.job_packing import measure_inputs
from node.libp2p_network import open_libp2p_network
from node.light_client import LightClient, Report
from node.light_plan import light_plan
from node.light_views import report_view, sighting_views
from node.market_shapes import PeerReport
from node.market_views import bar_view, bid_view
from node.offer_choice import check_choice, choose_depth, choose_offers
from node.ports import Clock, Network
from node.system_clock import SystemClock
from node.what_if import what_if

T = TypeVar("T")


class Look(Struct, frozen=True, kw_only=True):
    """What was seen, what each peer did, and whether our own clock may be wrong."""

    data: Any
    peers: list[PeerReport]
    clock_is_doubtful: bool = False


class LightSession(Struct, frozen=True):
    """A client on its network."""

    network: Network
    client: LightClient
    clock: Clock

    async def offers(self) -> tuple[list[OfferView], Look]:
        """All live offers as data, and the rest of what there is to say."""
        sightings, reports = await self.client.offers()
        return sighting_views(sightings, self.rtts()), self.look(None, reports)

    def rtts(self) -> dict[bytes, int]:
        """Measured round trips to the peers asked, microseconds."""
        return {peer.key: peer.rtt_us for peer in self.network.peers() if peer.rtt_us}

    def look(self, data: Any, reports: list[Report]) -> Look:
        """What was seen, with what the peers did."""
        peers = [report_view(report, self.client.addresses(report.peer)) for report in reports]
        return Look(data=data, peers=peers, clock_is_doubtful=self.client.clock_is_doubtful)


def look_at_market(introducers: tuple[str, ...], what: str, query: Json) -> Look:
    """Ask peers for ``offers``, ``depth``, ``bids`` or ``history``, each as :class:`node.control.NodeControl` does.

    Args:
        introducers: addresses of the peers to begin with.

    Raises:
        InvalidRequest: a wrong query or address.
        Unavailable: ``no_peers``, nobody answered.
    """
    check_choice(query)
    return on_the_network(introducers, partial(_SEE[what], query=query))


def ask_what_if(introducers: tuple[str, ...], request: JobRequest) -> Look:
    """What a job would meet on the market now: a :class:`~node.what_if_shapes.WhatIfView`.

    Raises:
        InvalidRequest: an input is not there, or a wrong address.
        Unavailable: ``no_peers``, nobody answered.
    """

    async def ask(session: LightSession) -> Look:
        spec = replace(request.spec, inputs=await measure_inputs(request))
        sightings, reports = await session.client.offers()
        offers = [sighting.offer for sighting in sightings]
        plan = light_plan(request, job_facts(request, spec), offers, session.rtts(), now=session.clock.now_ms())
        return session.look(what_if(plan), reports)

    return on_the_network(introducers, ask)


def on_the_network(introducers: tuple[str, ...], act: Callable[[LightSession], Awaitable[T]]) -> T:
    """Run ``act`` with a client on the network. Blocks.

    Raises:
        FabricError: as ``act`` does, or a malformed address.
    """
    try:
        found: T = trio.run(_on_the_network, introducers, act)
        return found
    except BaseExceptionGroup as group:
        # Nurseries wrap what their tasks raise; the user is told the cause, not the wrapping.
        ours = [cause for cause in _leaves(group) if isinstance(cause, FabricError | KeyboardInterrupt)]
        if ours:
            raise ours[0] from None
        raise


async def _on_the_network(introducers: tuple[str, ...], act: Callable[[LightSession], Awaitable[T]]) -> T:
    seed, clock = os.urandom(32), SystemClock()
    async with open_libp2p_network(seed=seed, listen=(), introducers=introducers, topics=frozenset()) as network:
        return await act(LightSession(network, LightClient(network, clock, introducers), clock))


async def _see_offers(session: LightSession, *, query: Json) -> Look:
    offers, look = await session.offers()
    return Look(data=choose_offers(offers, query), peers=look.peers, clock_is_doubtful=look.clock_is_doubtful)


async def _see_depth(session: LightSession, *, query: Json) -> Look:
    offers, look = await session.offers()
    return Look(data=choose_depth(offers, query), peers=look.peers, clock_is_doubtful=look.clock_is_doubtful)


async def _see_bids(session: LightSession, *, query: Json) -> Look:
    bids, reports = await session.client.bids()
    return session.look([bid_view(bid, mine=False) for bid in bids], reports)


async def _see_history(session: LightSession, *, query: Json) -> Look:
    over_ms, step_ms = int(query.get("over_ms") or 0), int(query.get("step_ms") or 0)
    since = max(0, session.clock.now_ms() - over_ms) if over_ms else 0
    wanted = HistoryRequest(gpu=str(query.get("gpu") or "")[:64], since=since, step_ms=step_ms)
    bars, reports = await session.client.history(wanted)
    return session.look([bar_view(bar) for bar in bars], reports)


_SEE: dict[str, Callable[..., Awaitable[Look]]] = {
    "offers": _see_offers,
    "depth": _see_depth,
    "bids": _see_bids,
    "history": _see_history,
}


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            yield from _leaves(inner)
        else:
            yield inner
