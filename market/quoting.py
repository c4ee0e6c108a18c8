"""Quotes: a price below the tag for one bid, told to its requester alone. It holds nothing and never exceeds the tag.

No second price: the requester is the auctioneer and could invent the second quote, so who is taken is paid what it
quoted. Whether an owner quotes at all, and how low, is its own rule; ours gives way as far as the machine is idle.
"""

from __future__ import annotations

from market.errors import PeerFault
from market.records import Award, Offer, Quote
from market.signing import Verified, verify

QUOTE_TTL_MS = 10_000
"""By the provider's clock, from when the quote was signed."""
MAX_DISCOUNT = 900
"""Permille below the tag at most, whatever an owner configures: a slip of the pen must not give a machine away."""


def quote_price(offer: Offer, *, free_slots: int, discount: int, floor: int) -> int:
    """What to quote: the tag, less the discount in proportion to what is idle, never below the floor.

    Args:
        offer: with the tag, nanotokens per GPU-second.
        free_slots: idle slots, 0..``total_slots``.
        discount: permille given away when everything is idle, 0..:data:`MAX_DISCOUNT`.
        floor: nanotokens per GPU-second below which nothing is sold.
    """
    idle = min(max(free_slots, 0), offer.total_slots)
    given = offer.price * min(max(discount, 0), MAX_DISCOUNT) * idle // (1000 * offer.total_slots)
    return min(offer.price, max(floor, offer.price - given))


def agreed_price(award: Award, tag: Verified[Offer], now: int) -> int | None:
    """The price at which an award may be honoured under this tag: the tag's, or that of a quote of the same provider
    that belongs to this bid and tag and has not expired. None when the quote is not such a one.

    Args:
        award: as received; its ``quote`` is still hostile bytes.
        tag: the offer it names, the provider's own.
        now: UTC milliseconds, the provider's clock.
    """
    if not award.quote:
        return tag.record.price
    try:
        quote = verify(award.quote, Quote)
    except PeerFault:
        return None
    record = quote.record
    if quote.signer != tag.signer or record.offer_id != tag.id or record.bid_id != award.bid_id:
        return None
    if record.expires_at <= now or record.price > tag.record.price:
        return None
    return record.price


def is_usable(quote: Verified[Quote], offer: Verified[Offer], bid_id: bytes, now: int) -> bool:
    """Whether a quote that a provider sent is about this offer and bid, still good, and below the tag.

    ``now`` is the requester's clock, which may differ from the provider's: a quote that lives longer than any of ours
    is not refused for that, one that has just expired is only not used.
    """
    record = quote.record
    return (
        quote.signer == offer.signer
        and record.offer_id == offer.id
        and record.machine == offer.record.machine
        and record.bid_id == bid_id
        and record.price < offer.record.price
        and record.expires_at > now
    )
