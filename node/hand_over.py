"""Gives our newest vouchers to watchtowers, so that a payer that leaves while we are away takes nothing we earned.

A tower can only redeem them to us. What it has confirmed is remembered for as long as we run; after a restart all are
handed over once more, which it takes for what it knows already.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from random import Random

import trio
from msgspec import Struct

from ledger.payee import Payee
from ledger.ports import LaneKey
from ledger.voucher import Voucher
from ledger.watch_book import MAX_ROWS
from market import codec
from market.errors import PeerFault
from node import wire
from node.ports import Network, PeerUnreachable
from node.retry_pause import RetryPause

log = logging.getLogger(__name__)

AGAIN_S = 600.0
"""How often a tower gets all of them once more: in a full book a lane may give way that the tower took before."""
PACE_S = 5.0
"""How often a tower gets what is new: what was earned since is what an exit at the worst moment could cost."""


class TowerView(Struct, frozen=True, kw_only=True):
    """One tower, for the status page. ``behind`` is what it does not hold yet, in token units; ``trouble`` says why."""

    peer: bytes
    lanes: int
    behind: int
    trouble: str


class HandOver:
    """Keeps every tower up to date.

    Args:
        towers: where each may be reached, by its key.
    """

    def __init__(self, payee: Payee, network: Network, towers: Mapping[bytes, tuple[str, ...]], rng: Random) -> None:
        self._payee = payee
        self._network = network
        self._towers = dict(towers)
        self._rng = rng
        self._held: dict[bytes, dict[LaneKey, int]] = {tower: {} for tower in towers}
        self._whole_at: dict[bytes, float] = {}
        self._trouble: dict[bytes, str] = dict.fromkeys(towers, "")

    async def hand_over_forever(self) -> None:
        """Never ends; a tower that is away is asked again."""
        async with trio.open_nursery() as nursery:
            for tower in self._towers:
                nursery.start_soon(self._serve_forever, tower)

    def view(self) -> list[TowerView]:
        """All towers."""
        vouchers = self._payee.vouchers()
        return [
            TowerView(
                peer=tower,
                lanes=len(held),
                behind=sum(max(0, one.cumulative - held.get(one.lane, 0)) for one in vouchers),
                trouble=self._trouble[tower],
            )
            for tower, held in self._held.items()
        ]

    async def _serve_forever(self, tower: bytes) -> None:
        pause = RetryPause(self._rng)
        while True:
            try:
                await self.hand_over(tower)
            except (PeerUnreachable, PeerFault) as error:
                self._tell(tower, f"not reached: {error}")
                await trio.sleep(max(PACE_S, pause.failed()))
            else:
                pause.succeeded()
                await trio.sleep(PACE_S)

    async def hand_over(self, tower: bytes) -> None:
        """Give one tower what it does not have yet.

        Raises:
            PeerUnreachable: it does not answer.
            PeerFault: it answers nonsense.
        """
        vouchers, held = self._payee.vouchers(), self._held[tower]
        live = {one.lane for one in vouchers}
        for lane in [lane for lane in held if lane not in live]:
            del held[lane]  # redeemed: the tower finds that out by itself
        now = trio.current_time()
        again = now - self._whole_at.get(tower, -AGAIN_S) >= AGAIN_S
        fresh = sorted(
            (one for one in vouchers if again or one.cumulative > held.get(one.lane, 0)),
            key=lambda one: (held.get(one.lane, 0) - one.cumulative, one.lane),
        )
        if not fresh:
            return
        self._network.learn(tower, self._towers[tower])
        for first in range(0, len(fresh), MAX_ROWS):
            batch = fresh[first : first + MAX_ROWS]
            if not await self._give(tower, batch):
                return
            held.update({one.lane: one.cumulative for one in batch})
        if again:
            self._whole_at[tower] = now
        self._tell(tower, "")

    async def _give(self, tower: bytes, batch: list[Voucher]) -> bool:
        request = codec.pack({"payee": batch[0].lane.payee, "rows": b"".join(one.row() for one in batch)})
        raw = await self._network.request(tower, wire.PROTOCOL_WATCH, request, timeout=wire.REQUEST_TIMEOUT_S)
        answer = codec.unpack(raw)
        if not isinstance(answer, dict) or type(answer.get("held")) is not int:
            refused = answer.get("refused") if isinstance(answer, dict) else None
            self._tell(
                tower, f"it refuses: {refused}" if isinstance(refused, str) else "it does not speak our language"
            )
            return False
        if answer["held"] < len(batch):
            for one in batch:
                self._held[tower].pop(one.lane, None)
            self._tell(tower, f"it has no room for {len(batch) - answer['held']} lanes")
            return False
        return True

    def _tell(self, tower: bytes, trouble: str) -> None:
        if trouble and trouble != self._trouble[tower]:
            log.warning("watchtower %s: %s", tower.hex()[:8], trouble[:200])
        self._trouble[tower] = trouble[:200]
