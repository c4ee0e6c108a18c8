"""Turns vouchers into money at the right time, and ends the leases of a payer that leaves.

A voucher is worth something only while its lane holds money, and its payer may start to leave at any moment, also
during a job; the escrow then waits for a window. The escrow's events say so (``ledger.chain_watcher``), and because one
that is missed would cost money, every lane at stake is looked at now and then all the same. What to redeem, and when,
is decided in ``ledger.redeem_plan``: an exit at once, much at stake soon, little when it is worth the gas, the rest
when no lease uses the lane any more or before a planned downtime.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import trio
from msgspec import Struct

from ledger.chain_watcher import ChainWatcher, lane_of
from ledger.payee import Payee
from ledger.ports import LaneKey, LedgerEvent
from ledger.redeem_plan import MAX_ROWS, Drawable, plan_redemption
from market.errors import InvalidRequest, Unavailable
from market.lease import ContainerExited, is_legal
from market.records import ExitReason
from node.gas_worth import GasWorth
from node.lease_board import LeaseBoard
from node.ports import Clock

log = logging.getLogger(__name__)

_LONGEST_PACE_S = 15.0
_LONGEST_SWEEP_S = 3_600.0
_NEWS_AT_LATEST_S = 30.0


class RedeemPolicy(Struct, frozen=True, kw_only=True):
    """What an owner is willing to hold in signatures only.

    ``exposure_cap`` is in token units, for each lane. ``idle_s`` is how long the requester is left to close a lane that
    no lease uses any more, before it is redeemed.
    """

    exposure_cap: int = 10_000_000
    idle_s: float = 30.0


class Collector:
    """Looks after every lane with an open lease or an unredeemed voucher. Run :meth:`work_forever`.

    Args:
        boards: the leases this node sells, by id, as they come and go.
        watcher: tells the escrow's events; somebody else runs it.
        gas: what a redemption costs.
    """

    def __init__(
        self,
        boards: Mapping[bytes, LeaseBoard],
        payee: Payee,
        clock: Clock,
        *,
        watcher: ChainWatcher,
        policy: RedeemPolicy,
        gas: GasWorth,
    ) -> None:
        self._boards = boards
        self._payee = payee
        self._clock = clock
        self._watcher = watcher
        self._policy = policy
        self._gas = gas
        self._to_look: set[LaneKey] = set()
        self._bell = trio.Event()
        self._idle_since: dict[LaneKey, float] = {}
        self._news: dict[LaneKey, trio.Event] = {}
        self._told: set[str] = set()
        self.trouble = ""
        """Why the last look or redemption could not be done, for the status page; empty when it could."""

    async def work_forever(self) -> None:
        """Look now, so that an exit that began while we were away is met first; then on events, and now and then."""
        async with self._watcher.listen() as events, trio.open_nursery() as nursery:
            nursery.start_soon(self._hear, events)
            nursery.start_soon(self._sweep_forever)
            nursery.start_soon(self._look_forever)
            nursery.start_soon(self._redeem_forever)

    def lanes_at_stake(self) -> list[LaneKey]:
        """Lanes on which we can lose something."""
        summaries = self._payee.summary()
        return [one.lane for one in summaries if one.open_leases or min(one.signed, one.balance) > one.claimed]

    def unredeemed(self) -> int:
        """What all vouchers together would bring in now, in token units."""
        return sum(one.unredeemed for one in self._drawable())

    def news(self, lane: LaneKey) -> trio.Event:
        """Set when something happened to the lane. Ask for it before looking at the lane, and then :meth:`wait`."""
        return self._news.setdefault(lane, trio.Event())

    async def wait(self, news: trio.Event) -> None:
        """Wait for news, or for a while: an event that was missed must not hold anybody up for ever."""
        with trio.move_on_after(min(_NEWS_AT_LATEST_S, self._sweep_s())):
            await news.wait()

    async def look(self, lane: LaneKey) -> None:
        """Read the lane, and end its leases if its payer is leaving. Safe to repeat.

        Raises:
            Unavailable: the chain does not answer, or is not believed.
        """
        found = await self._payee.lane_on_chain(lane)
        self._tell(lane)
        if not found.exit_at:
            return
        ended = False
        for board in [one for one in self._boards.values() if one.lane == lane]:
            fact = ContainerExited(at=self._clock.now_ms(), reason=ExitReason.UNPAID, exit_code=-1)
            if is_legal(board.state, fact) and board.state.exit_reason is None:
                ended = await board.record(fact) or ended
        if ended:
            log.warning("payer %s is leaving its lane: its leases end, what it signed is redeemed", _short(lane))

    async def redeem_due(self, *, last: bool = False, forced: bool = False) -> int:
        """Redeem what is due now, in batches. How many lanes were redeemed.

        Args:
            last: as if no lane were used any more: before a planned downtime.
            forced: everything, whatever it costs: the owner asks.

        Raises:
            Unavailable: the chain does not answer.
            InvalidRequest: our wallet cannot pay for the redemption.
        """
        gas = await self._gas.cost()
        due = plan_redemption(
            self._drawable(), exposure_cap=self._policy.exposure_cap, gas=gas, last=last, forced=forced
        )
        for first in range(0, len(due), MAX_ROWS):
            await self._redeem([one.lane for one, _ in due[first : first + MAX_ROWS]])
        if due:
            reasons = ", ".join(sorted({str(reason) for _, reason in due}))
            log.info("redeemed %d lanes: %s", len(due), reasons)
        return len(due)

    async def _redeem(self, lanes: Sequence[LaneKey]) -> None:
        if await self._payee.redeem(lanes) is None:
            # Somebody was quicker: a watchtower, or the payer's close. The books learn it here.
            for lane in lanes:
                await self._payee.lane_on_chain(lane)
        for lane in lanes:
            self._tell(lane)

    async def _hear(self, events: trio.MemoryReceiveChannel[LedgerEvent]) -> None:
        async for event in events:
            lane = lane_of(event)
            if event.kind == "Redeemed":
                payee = event.arguments.get("provider")
                self._look_soon([one for one in self.lanes_at_stake() if one.payee == payee])
            elif lane is not None and self._payee.knows(lane):
                self._look_soon([lane])

    async def _sweep_forever(self) -> None:
        while True:
            self._look_soon(self.lanes_at_stake())
            await trio.sleep(self._sweep_s())

    async def _look_forever(self) -> None:
        while True:
            lanes, self._to_look = sorted(self._to_look), set()
            for lane in lanes:
                try:
                    await self.look(lane)
                except (Unavailable, InvalidRequest) as error:
                    self._tell_trouble(f"lane of payer {_short(lane)}: {error}")
                    self._to_look.add(lane)
            if self._to_look or not lanes:
                with trio.move_on_after(self._pace_s()):
                    await self._bell.wait()

    async def _redeem_forever(self) -> None:
        while True:
            try:
                await self.redeem_due()
                if not self._to_look:
                    self.trouble = ""
                    self._told.clear()
            except (Unavailable, InvalidRequest) as error:
                # A wallet without gas is the owner's to fill; a payer's exit must not take the node down with it.
                self._tell_trouble(f"vouchers could not be redeemed: {error}")
            await trio.sleep(self._pace_s())

    def _look_soon(self, lanes: Sequence[LaneKey]) -> None:
        if lanes:
            self._to_look.update(lanes)
            self._bell.set()
            self._bell = trio.Event()

    def _tell(self, lane: LaneKey) -> None:
        if (waiting := self._news.pop(lane, None)) is not None:
            waiting.set()

    def _tell_trouble(self, why: str) -> None:
        if why not in self._told:
            log.warning("%s", why)
            self._told.add(why)
        self.trouble = why

    def _drawable(self) -> list[Drawable]:
        now, found = trio.current_time(), []
        for one in self._payee.summary():
            unredeemed = min(one.signed, one.balance) - one.claimed
            if one.open_leases or unredeemed <= 0:
                self._idle_since.pop(one.lane, None)
            if unredeemed > 0:
                idle = not one.open_leases and now - self._idle_since.setdefault(one.lane, now) >= self._policy.idle_s
                leaving = one.exit_at > 0
                found.append(Drawable(lane=one.lane, unredeemed=unredeemed, leaving=leaving, idle=idle))
        return found

    def _pace_s(self) -> float:
        return min(_LONGEST_PACE_S, max(0.5, self._payee.exit_delay_s / 120))

    def _sweep_s(self) -> float:
        return min(_LONGEST_SWEEP_S, max(1.0, self._payee.exit_delay_s / 8))


def _short(lane: LaneKey) -> str:
    return lane.payer.hex()[:8]
