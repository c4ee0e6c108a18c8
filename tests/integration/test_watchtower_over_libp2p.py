"""Vouchers travel to a tower over real libp2p: many at once, from those it serves, and from nobody in their name."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import trio

from bootstrap.identity import key_of_seed
from ledger.ports import LaneKey
from ledger.voucher import Domain, SessionKey, Voucher, sign_voucher
from ledger.watch_book import MAX_ROWS, WatchBook
from node.hand_over import HandOver
from node.libp2p_network import open_libp2p_network
from node.watchtower import Watchtower
from tests.fakes.memory_journal import MemoryJournal

DOMAIN = Domain(31337, b"e" * 20)
PAYEE = b"p" * 20
LISTEN = ("/ip4/127.0.0.1/tcp/0",)
PATIENCE_S = 30
COUNT = MAX_ROWS + 60


def vouchers(cumulative: int) -> list[Voucher]:
    """One for each of ``COUNT`` lanes."""
    made = []
    for number in range(COUNT):
        key = SessionKey((number + 1).to_bytes(32, "big"))
        lane = LaneKey(payer=b"r" * 20, payee=PAYEE, signer=key.address)
        made.append(sign_voucher(key, DOMAIN, lane, cumulative))
    return made


async def test_hundreds_of_lanes_are_handed_over_and_strangers_are_turned_away() -> None:
    held: list[Voucher] = vouchers(7)
    payee: Any = SimpleNamespace(vouchers=lambda: held)
    nothing: Any = SimpleNamespace()
    book = WatchBook(MemoryJournal(), DOMAIN, per_peer=COUNT)
    client = key_of_seed(b"\x02" * 32)
    with trio.fail_after(PATIENCE_S):
        async with (
            open_libp2p_network(seed=b"\x01" * 32, listen=LISTEN) as tower_net,
            open_libp2p_network(seed=b"\x02" * 32, listen=LISTEN) as provider_net,
            open_libp2p_network(seed=b"\x03" * 32, listen=LISTEN) as stranger_net,
        ):
            tower = Watchtower(book, nothing, tower_net, watcher=nothing, gas=nothing, clients=(client,))
            tower.register()
            where = {tower_net.key: tower_net.addresses()}
            provider, stranger = (HandOver(payee, net, where, Random(1)) for net in (provider_net, stranger_net))
            await stranger.hand_over(tower_net.key)
            assert not book.vouchers
            assert "not_a_client" in stranger.view()[0].trouble
            await provider.hand_over(tower_net.key)
            assert len(book.vouchers) == COUNT
            held = vouchers(9)
            await provider.hand_over(tower_net.key)
    assert book.vouchers == {one.lane: one for one in vouchers(9)}
    assert book.peers == {client: COUNT}
    assert provider.view()[0].behind == 0
