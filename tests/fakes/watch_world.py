"""A payer, a provider and a watchtower around one lane. The provider's line to the tower is a function call."""

from __future__ import annotations

from random import Random
from typing import Any

import trio

from ledger.chain_watcher import ChainWatcher
from ledger.voucher import Domain, SessionKey
from ledger.watch_book import WatchBook
from market.errors import PeerFault
from node.gas_worth import GasPrice, GasWorth
from node.hand_over import HandOver
from node.ports import PeerUnreachable
from node.watchtower import Watchtower
from tests.fakes.lane_world import LaneWorld
from tests.fakes.memory_journal import MemoryJournal

PROVIDER, TOWER = b"P" * 32, b"T" * 32


class Line:
    """The ``Network`` that a provider sees of its tower. While ``cut`` nobody answers."""

    key = PROVIDER

    def __init__(self) -> None:
        self.cut = False
        self.handler: Any = None
        self.asked: list[bytes] = []
        self.faults: list[str] = []
        self.answer: bytes | None = None

    def learn(self, peer: bytes, addresses: tuple[str, ...]) -> None:
        """Nothing to learn: there is one peer."""

    def serve(self, protocol: str, handler: Any, *, max_request: int) -> None:
        self.handler = handler

    async def request(self, peer: bytes, protocol: str, request: bytes, *, timeout: float) -> bytes:
        if self.cut:
            raise PeerUnreachable("the line is cut")
        self.asked.append(request)
        if self.answer is not None:
            return self.answer
        try:
            return bytes(await self.handler(PROVIDER, request))
        except PeerFault as fault:
            self.faults.append(fault.code)
            raise PeerUnreachable("the stream was reset") from None


class WatchWorld(LaneWorld):
    """As :class:`LaneWorld`, with a tower that has an account, a journal and a watcher of its own."""

    def __init__(self, *, per_peer: int = 8, exit_delay_s: int = 3600) -> None:
        super().__init__(exit_delay_s=exit_delay_s)
        self.per_peer = per_peer
        self.tower_wallet = SessionKey(b"\x09" * 32)
        self.tower_chain = self.chain.view(self.tower_wallet.address)
        self.chain.give_gas(self.tower_wallet.address)
        self.tower_journal = MemoryJournal()
        self.line = Line()
        self.gas_price: GasPrice | None = None
        self.coin_units = 0
        self.hand_over = HandOver(self.payee, self.line, {TOWER: ()}, Random(1))  # type: ignore[arg-type]

    async def open_tower(self, clients: tuple[bytes, ...] = ()) -> Watchtower:
        """The tower's process begins, on what its journal has."""
        self.book = WatchBook(
            self.tower_journal, Domain(self.tower_chain.chain_id, self.tower_chain.escrow), per_peer=self.per_peer
        )
        await self.book.load()
        self.watcher = ChainWatcher(
            self.tower_chain,
            self.tower_journal,
            confirmations=1,
            first_block=None,
            poll_s=5.0,
            now_ms=self.clock.now_ms,
            random=Random(3),
        )
        self.tower = Watchtower(
            self.book,
            self.tower_chain,
            self.line,  # type: ignore[arg-type]
            watcher=self.watcher,
            gas=GasWorth(self.gas_price, self.coin_units),
            clients=clients,
        )
        self.tower.register()
        return self.tower

    async def watch(self) -> None:
        """Run the tower and its watcher until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.watcher.run)
            nursery.start_soon(self.tower.work_forever)
