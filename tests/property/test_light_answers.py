"""Whatever peers answer, a light client ends with a report; whatever they ask, the public desks answer or refuse."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from bootstrap.identity import peer_id_of
from market import codec
from market.errors import FabricError, Unavailable
from market.price_history import STEP_MS, take_bars
from node import wire
from node.book_digest import BookView, read_question
from node.history_desk import HistoryAnswer, HistoryDesk, HistoryRequest
from node.light_client import LightClient
from node.peer_exchange import pack_peers
from node.ports import PeerUnreachable
from node.public_desk import PublicDesk
from tests.fakes.desks import RecordingNetwork, SetClock
from tests.fakes.samples import BUYER, NOW, SELLER, a_bid, a_signer, an_offer

PEERS = [a_signer(f"peer{number}").key for number in range(4)]
OFFER = SELLER.sign(an_offer())
SOME = settings(max_examples=100, deadline=None)
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def honest(protocol: str, request: bytes) -> bytes:
    if protocol == wire.PROTOCOL_PEERS:
        return pack_peers([(peer, (f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id_of(peer)}",)) for peer in PEERS])
    if protocol == wire.PROTOCOL_BOOK:
        return BookView([OFFER]).answer(read_question(request), limit=wire.MAX_RESPONSE)
    if protocol == wire.PROTOCOL_BIDS:
        return codec.pack([BUYER.sign(a_bid()).raw])
    return codec.pack_record(HistoryAnswer(bars=tuple(take_bars([OFFER], NOW))))


@st.composite
def answers(draw: st.DrawFn) -> Any:
    """What one peer says: nothing, junk, or an honest answer with a few bytes changed."""
    kind = draw(st.sampled_from(("silence", "bytes", "value", "list", "near", "near")))
    if kind == "silence":
        return None
    if kind == "bytes":
        return draw(st.binary(max_size=60))
    if kind == "value":
        return codec.pack(draw(junk))
    if kind == "list":
        return codec.pack([draw(st.binary(max_size=300)) for _ in range(draw(st.integers(0, 4)))])
    return draw(st.lists(st.tuples(st.integers(0, 2**16), st.integers(1, 255)), max_size=4))


def spoken(answer: Any, protocol: str, request: bytes) -> bytes:
    if answer is None:
        raise PeerUnreachable("silent")
    if isinstance(answer, bytes):
        return answer
    said = bytearray(honest(protocol, request))
    for place, change in answer:
        said[place % len(said)] ^= change
    return bytes(said)


def run(act: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(3600):
            await act()

    trio.run(main, clock=MockClock(autojump_threshold=0))


@SOME
@given(said=st.lists(answers(), min_size=5, max_size=5), look=st.sampled_from(("offers", "bids", "history")))
def test_a_light_client_ends_with_a_report_whatever_it_is_told(said: list[Any], look: str) -> None:
    async def act() -> None:
        network = RecordingNetwork(BUYER.key)
        keys = [SELLER.key, *PEERS]
        network.answer = lambda peer, protocol, request: (
            spoken(said[keys.index(peer)], protocol, request)
            if protocol != wire.PROTOCOL_PEERS
            else honest(protocol, request)
        )
        first = (f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id_of(SELLER.key)}",)
        client = LightClient(network, SetClock(), first, luck=random.Random(1))
        wanted = (HistoryRequest(step_ms=STEP_MS),) if look == "history" else ()
        if all(answer is None for answer in said):
            with pytest.raises(Unavailable):
                await getattr(client, look)(*wanted)
            return
        found, reports = await getattr(client, look)(*wanted)
        assert len(reports) == 5
        assert all(report.complete <= report.answered for report in reports)
        assert len(found) <= 1
        if any(answer == [] for answer in said):
            assert len(found) == 1, "one honest answer is enough"

    run(act)


@SOME
@given(requests=st.lists(st.binary(max_size=60) | junk.map(codec.pack), max_size=5))
def test_public_desks_answer_or_refuse_whatever_they_are_asked(requests: list[bytes]) -> None:
    async def act() -> None:
        network, clock = RecordingNetwork(), SetClock()
        HistoryDesk(network, clock, lambda now: [OFFER], path=None).register()
        PublicDesk(network, clock, lambda: [BUYER.sign(a_bid())]).register()
        for request in requests:
            for protocol in (wire.PROTOCOL_HISTORY, wire.PROTOCOL_BIDS):
                try:
                    answer = await network.handlers[protocol](BUYER.key, request)
                except FabricError:
                    continue
                assert len(answer) <= wire.MAX_RESPONSE

    run(act)
