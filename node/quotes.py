"""Quotes on the wire: a provider's answer to "how much for this bid?", and a requester that asks a few at once.

The question and the answer travel on the encrypted stream between the two keys, so nobody else learns the price. The
answer holds nothing: slots are set aside by an award alone, and asking many costs the market nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import trio

from market import codec
from market.errors import PeerFault
from market.matching import Match
from market.quoting import QUOTE_TTL_MS, is_usable, quote_price
from market.records import Bid, Offer, Quote
from market.signing import Signer, Verified, verify
from node import wire
from node.machine import Machine
from node.peer_budgets import PeerBudgets, Rate
from node.ports import Clock, Network, PeerUnreachable

ASK_AT_ONCE = 5
PATIENCE_S = 0.3
QUOTE_RATE = Rate(per_second=5.0, burst=50.0)
"""Quotes signed for one peer. A signature costs little, but it is work for nothing if it is asked for all the time."""
_MAX_REQUEST = 4096
_MAX_ANSWER = 2048
_NO_QUOTE = codec.pack({})


class QuoteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The signed bid, and the offer the requester has in mind."""

    bid: bytes
    machine: str
    offer_id: bytes


class QuoteDesk:
    """The provider's side. Says nothing below the tag unless its owner allowed a discount."""

    def __init__(self, machines: Mapping[str, Machine], *, signer: Signer, network: Network, clock: Clock) -> None:
        self._machines = machines
        self._signer = signer
        self._network = network
        self._clock = clock
        self._budgets = PeerBudgets()

    def register(self) -> None:
        """Answer requests for quotes. Call before the network talks."""
        self._network.serve(wire.PROTOCOL_QUOTE, self._answer, max_request=_MAX_REQUEST)

    async def _answer(self, peer: bytes, request: bytes) -> bytes:
        asked = codec.unpack_record(request, QuoteRequest, limit=_MAX_REQUEST)
        bid = verify(asked.bid, Bid)
        if bid.signer != peer:
            raise PeerFault("a quote asked for by another than the bidder", code="wrong_bid")
        machine = self._machines.get(asked.machine)
        if machine is None or not machine.description.quote_discount:
            return _NO_QUOTE
        now = self._clock.now_ms()
        tag = next((offer for offer in machine.tags(now) if offer.id == asked.offer_id), None)
        free = 0 if machine.draining else machine.inventory.free_slots
        if tag is None or free < bid.record.requirements.slots:
            return _NO_QUOTE
        sold = machine.description
        price = quote_price(tag.record, free_slots=free, discount=sold.quote_discount, floor=sold.floor)
        if price >= tag.record.price or not self._budgets.allow(peer, QUOTE_RATE, trio.current_time()):
            return _NO_QUOTE
        return codec.pack({"quote": self._quote(tag, bid.record, price, now).raw})

    def _quote(self, tag: Verified[Offer], bid: Bid, price: int, now: int) -> Verified[Quote]:
        return self._signer.sign(
            Quote(
                provider=self._signer.key,
                bid_id=bid.bid_id,
                machine=tag.record.machine,
                offer_id=tag.id,
                price=price,
                issued_at=now,
                expires_at=now + QUOTE_TTL_MS,
            )
        )


async def ask_for_quotes(
    network: Network, clock: Clock, bid: Verified[Bid], matches: Iterable[Match]
) -> list[Verified[Quote]]:
    """Ask the first few of a list at the same time and return what came back in time and is below the tag.

    Who does not answer, or not usefully, is not punished: quoting is optional. Who sends rubbish is.
    """
    found: list[Verified[Quote]] = []
    with trio.move_on_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            for match in list(matches)[:ASK_AT_ONCE]:
                nursery.start_soon(_ask_one, network, clock, bid, match.offer, found)
    return found


async def _ask_one(
    network: Network, clock: Clock, bid: Verified[Bid], offer: Verified[Offer], found: list[Verified[Quote]]
) -> None:
    # Of most offers nobody remembers the addresses: a node needs only so many places to dial.
    network.learn(offer.signer, offer.record.addresses)
    request = QuoteRequest(bid=bid.raw, machine=offer.record.machine, offer_id=offer.id)
    try:
        answer = await network.request(
            offer.signer,
            wire.PROTOCOL_QUOTE,
            codec.pack_record(request),
            timeout=wire.REQUEST_TIMEOUT_S,
            max_response=_MAX_ANSWER,
        )
        reply = codec.unpack(answer, limit=_MAX_ANSWER)
        raw = reply.get("quote") if isinstance(reply, dict) else None
        if not isinstance(raw, bytes):
            return
        quote = verify(raw, Quote)
    except PeerUnreachable:
        return
    except PeerFault as fault:
        network.penalise(offer.signer, fault.code)
        return
    if is_usable(quote, offer, bid.record.bid_id, clock.now_ms()):
        found.append(quote)
