"""Awards that name a quote: honoured when it is the provider's own, for this bid, tag and price, and not expired."""

from __future__ import annotations

from typing import Any

import pytest

from market.records import Lease
from market.signing import verify
from tests.fakes.desks import a_seller
from tests.fakes.samples import NOW, SELLER, a_quote, a_signer
from tests.unit.node.test_provider import refusal_in

MALLORY = a_signer("mallory")


async def test_its_own_quote_is_honoured_and_is_the_price_of_the_lease():
    async with a_seller() as seller:
        quote = SELLER.sign(a_quote(seller.tag, price=80_000))
        lease = verify((await seller.answer(seller.award(price=80_000, quote=quote.raw)))["lease"], Lease).record
        board = seller.desk.boards[lease.lease_id]
        assert (board.state.price, seller.tag.record.price) == (80_000, 100_000)


@pytest.mark.parametrize(
    ("quoted", "changes", "reason"),
    [
        ({}, {"price": 100_000}, "stale_price"),
        ({"expires_at": NOW}, {}, "bad_quote"),
        ({"bid_id": b"x" * 16}, {}, "bad_quote"),
        ({"offer_id": bytes(32)}, {}, "bad_quote"),
        ({"price": 79_999}, {}, "stale_price"),
    ],
)
async def test_a_quote_is_good_for_its_bid_and_tag_and_time_and_price_only(
    quoted: dict[str, Any], changes: dict[str, Any], reason: str
):
    async with a_seller() as seller:
        quote = SELLER.sign(a_quote(seller.tag, **({"price": 80_000} | quoted)))
        award = seller.award(**({"price": 80_000, "quote": quote.raw} | changes))
        assert refusal_in(await seller.answer(award))[0] == reason
        assert seller.machine.inventory.free_slots == 2


async def test_a_quote_that_somebody_else_signed_is_none():
    async with a_seller() as seller:
        quote = MALLORY.sign(a_quote(seller.tag, provider=MALLORY.key, price=1))
        assert refusal_in(await seller.answer(seller.award(price=1, quote=quote.raw)))[0] == "bad_quote"
