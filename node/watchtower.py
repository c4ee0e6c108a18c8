"""Redeems for providers that are offline when a payer leaves. Started by ``cfab up --watch``.

Providers hand in their newest vouchers; when the payer of one of those lanes starts its exit and a part of the window
has passed without the provider taking its money, the tower sends the voucher. The escrow pays the provider, whoever
sends: a tower can steal nothing, and learns nothing but what a provider has to show the chain anyway. It pays the gas.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from itertools import islice

import trio
from msgspec import Struct

from ledger.chain_watcher import ChainWatcher, lane_of
from ledger.ports import Chain, LaneKey, LaneOnChain, LedgerEvent
from ledger.redeem_plan import MAX_ROWS
from ledger.voucher import ROW_BYTES, Voucher
from ledger.watch_book import WatchBook
from market import codec
from market.errors import InvalidRequest, PeerFault, Unavailable
from node import wire
from node.gas_worth import GasWorth
from node.peer_budgets import PeerBudgets, Rate
from node.ports import Network
from node.several import several

log = logging.getLogger(__name__)

_LONGEST_PACE_S = 30.0
_LONGEST_SWEEP_S = 3_600.0
_EMPTY_FOR_S = 86_400.0
_PAID_FOR_S = 1_800.0
MAX_REQUEST = MAX_ROWS * ROW_BYTES + 256
FOREVER = 2**62
_PEER_ROWS = Rate(per_second=200.0, burst=4_096.0)
"""Vouchers taken from one peer: each costs a check of its signature, also when it is known or worth nothing."""
_STRANGERS_ROWS = Rate(per_second=250.0, burst=8_192.0)
"""The same from all peers together of which no lane was seen to hold money: keys cost nothing."""
_PROVEN_ROWS = Rate(per_second=250.0, burst=8_192.0)
"""And from all others, so that strangers cannot talk so much that nobody with money at stake is heard."""
_LEAST_ROWS = 8
"""Rows counted for a hand-over at least: to find places in a full book costs time, too."""
LOOKS = 20
"""Lanes looked at in a second, of those where nothing is known to happen: what anybody hands in costs us questions."""
AT_ONCE = 8
"""Questions and redemptions under way at once."""


class WatchView(Struct, frozen=True, kw_only=True):
    """For the status page. ``saved`` is what was redeemed for others since the start, in token units."""

    providers: int
    lanes: int
    leaving: int
    saved: int
    trouble: str


def our_turn_s(lane: LaneOnChain, default_delay_s: int) -> int:
    """From when a tower acts on a lane, UTC seconds of the chain: the first half of the window is the provider's own.

    ``FOREVER`` while no exit runs.
    """
    return lane.exit_at - (lane.delay_s or default_delay_s) // 2 if lane.exit_at else FOREVER


class Watchtower:
    """Keeps vouchers of others and uses them in need.

    Args:
        clients: peers that are served; empty for anybody.
        watcher: tells the escrow's events; somebody else runs it.
        gas: what a redemption costs; vouchers that are not worth it are not sent.
        confirmations: how deep it must lie that a voucher was paid before it is dropped.
    """

    def __init__(
        self,
        book: WatchBook,
        chain: Chain,
        network: Network,
        *,
        watcher: ChainWatcher,
        gas: GasWorth,
        clients: Collection[bytes] = (),
        confirmations: int = 1,
    ) -> None:
        self._book = book
        self._chain = chain
        self._network = network
        self._watcher = watcher
        self._gas = gas
        self._clients = frozenset(clients)
        self._rates = PeerBudgets()
        self._confirmations = confirmations
        self._to_look: set[LaneKey] = set()
        self._swept: dict[LaneKey, None] = {}
        self._leaving: dict[LaneKey, LaneOnChain] = {}
        self._empty_since: dict[LaneKey, float] = {}
        self._saved = 0
        self._trouble = ""

    def register(self) -> None:
        """Take vouchers. Call before the network talks, after the book is loaded."""
        self._network.serve(wire.PROTOCOL_WATCH, self._take, max_request=MAX_REQUEST)

    def view(self) -> WatchView:
        """What is being watched."""
        return WatchView(
            providers=len(self._book.peers),
            lanes=len(self._book.vouchers),
            leaving=len(self._leaving),
            saved=self._saved,
            trouble=self._trouble,
        )

    async def work_forever(self) -> None:
        """Look at all lanes now: an exit may have begun while we were away. Then on events, and now and then."""
        async with self._watcher.listen() as events, trio.open_nursery() as nursery:
            nursery.start_soon(self._hear, events)
            nursery.start_soon(self._sweep_forever)
            nursery.start_soon(self._look_forever)
            while True:
                try:
                    await self.act()
                    self._trouble = ""
                except (Unavailable, InvalidRequest) as error:
                    self._tell(str(error))
                await trio.sleep(min(_LONGEST_PACE_S, max(0.5, self._chain.exit_delay_s / 120)))

    async def act(self) -> None:
        """Look at lanes of which something was heard, and redeem where it is our turn. Safe to repeat.

        Raises:
            Unavailable: the chain does not answer.
            InvalidRequest: our wallet cannot pay for the redemption.
        """
        if not self._to_look and not self._leaving:
            return
        now_s = (await self._chain.head()).timestamp
        await self._look_at(self._to_look | {lane for lane in self._leaving if self._is_our_turn(lane, now_s)})
        due: dict[bytes, list[tuple[int, Voucher]]] = {}
        ends: dict[bytes, int] = {}
        for lane, found in self._leaving.items():
            voucher = self._book.vouchers.get(lane)
            if voucher is not None and self._is_our_turn(lane, now_s):
                due.setdefault(lane.payee, []).append((_worth(voucher, found), voucher))
                ends[lane.payee] = min(found.exit_at, ends.get(lane.payee, found.exit_at))
        # Several at once: a redemption waits to be mined, and payees that pay themselves could hold up all others.
        order = sorted(due, key=lambda payee: (ends[payee], -sum(worth for worth, _ in due[payee]), payee))
        await several(order, lambda payee: self._redeem(payee, due[payee]), at_once=AT_ONCE)

    def _is_our_turn(self, lane: LaneKey, now_s: int) -> bool:
        return now_s >= our_turn_s(self._leaving[lane], self._chain.exit_delay_s)

    async def _take(self, peer: bytes, request: bytes) -> bytes:
        asked = codec.unpack(request, limit=MAX_REQUEST)
        payee, rows = (asked.get("payee"), asked.get("rows")) if isinstance(asked, dict) else (None, None)
        if not isinstance(payee, bytes) or not isinstance(rows, bytes):
            raise PeerFault("vouchers without rows", code="bad_field")
        if self._clients and peer not in self._clients:
            return codec.pack({"refused": "not_a_client"})
        now, count = trio.current_time(), max(_LEAST_ROWS, len(rows) // ROW_BYTES)
        share = _PROVEN_ROWS if self._book.proven(peer) else _STRANGERS_ROWS
        if not (self._rates.allow(peer, _PEER_ROWS, now, count) and self._rates.allow(b"", share, now, count)):
            return codec.pack({"refused": "too_fast"})
        try:
            held = await self._book.take(peer, payee, rows)
        except Unavailable as error:
            return codec.pack({"refused": error.code})
        # Not within the request are they looked at: the chain may be slow, and the lanes many.
        return codec.pack({"held": held})

    async def _hear(self, events: trio.MemoryReceiveChannel[LedgerEvent]) -> None:
        async for event in events:
            lane = lane_of(event)
            if lane is not None and lane in self._book.vouchers:
                self._to_look.add(lane)

    async def _sweep_forever(self) -> None:
        while True:
            held = self._book.vouchers
            self._swept.update({lane: None for lane in held if lane not in self._book.unseen})
            self._empty_since = {lane: since for lane, since in self._empty_since.items() if lane in held}
            await trio.sleep(min(_LONGEST_SWEEP_S, max(1.0, self._chain.exit_delay_s / 8)))

    async def _look_forever(self) -> None:
        """The lanes of which nothing was heard, so many in a second: new ones, and those whose turn it is again. Half
        of it is for each, so that lanes that somebody makes up do not keep us from an exit that we missed."""
        while True:
            new = self._book.unseen
            swept = list(islice(self._swept, max(LOOKS // 2, LOOKS - len(new))))
            batch = [*swept, *islice(new, LOOKS - len(swept))]
            try:
                await self._look_at(batch)
            except Unavailable as error:
                self._tell(str(error))
            await trio.sleep(1.0)

    async def _look_at(self, lanes: Collection[LaneKey]) -> None:
        """Ask the chain, several at once. Those it does not answer for stay to be looked at.

        Raises:
            Unavailable: it did not answer for all.
        """
        if not lanes:
            return
        gas = await self._gas.cost()
        least = 0 if gas is None else gas.base + gas.row
        await several(lanes, lambda lane: self._look(lane, least), at_once=AT_ONCE)

    async def _look(self, lane: LaneKey, least: int) -> None:
        voucher = self._book.vouchers.get(lane)
        found = await self._chain.lane(lane)
        self._swept.pop(lane, None)
        self._to_look.discard(lane)
        worth = 0 if voucher is None else _worth(voucher, found)
        self._book.saw(lane, funded=worth > 0 and found.balance - found.claimed > least)
        if worth > 0 and found.exit_at:
            self._leaving[lane] = found
            return
        self._leaving.pop(lane, None)
        if voucher is not None and worth <= 0:
            await self._drop_when_dead(voucher)
        else:
            self._empty_since.pop(lane, None)

    async def _drop_when_dead(self, voucher: Voucher) -> None:
        """A lane that seems paid or empty is given time: our endpoint may be behind the provider's, or lie for once."""
        lane = voucher.lane
        deep = await self._chain.lane(lane, confirmations=self._confirmations)
        patience = _PAID_FOR_S if deep.claimed >= voucher.cumulative else _EMPTY_FOR_S
        if trio.current_time() - self._empty_since.setdefault(lane, trio.current_time()) > patience:
            del self._empty_since[lane]
            await self._book.drop(lane)

    async def _redeem(self, payee: bytes, gains: list[tuple[int, Voucher]]) -> None:
        gas = await self._gas.cost()
        # The best first, and no dust: many lanes of a unit each, opened by the payer, must not crowd out its real one.
        least = gas.row if gas is not None else 0
        gains = sorted((one for one in gains if one[0] > least), key=lambda one: (-one[0], one[1].lane))
        rows = [voucher.row() for _, voucher in gains[:MAX_ROWS]]
        worth = await self._chain.preview_redeem(payee, b"".join(rows)) if rows else 0
        if not worth or (gas is not None and worth <= gas.base + gas.row * len(rows)):
            return
        mined = await self._chain.redeem_many(payee, rows, urgent=True)
        if mined.succeeded:
            self._saved += worth
            log.warning("redeemed %d units for the provider %s, whose payer leaves", worth, payee.hex()[:8])

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("watchtower: %s", trouble)
        self._trouble = trouble


def _worth(voucher: Voucher, found: LaneOnChain) -> int:
    return min(voucher.cumulative, found.balance) - found.claimed
