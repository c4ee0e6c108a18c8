"""Quotes: never above the tag, never below the floor, good for one bid and one tag for a short time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market.quoting import MAX_DISCOUNT, agreed_price, is_usable, quote_price
from market.signing import Verified
from tests.fakes.samples import NOW, SELLER, a_quote, a_signer, an_award, an_offer, offered_by

TAG = offered_by(SELLER, price=1_000, total_slots=4)
QUOTE = SELLER.sign(a_quote(TAG, price=900))


def test_the_more_is_idle_the_lower_the_quote():
    offer = TAG.record
    quoted = [quote_price(offer, free_slots=free, discount=200, floor=0) for free in range(5)]
    assert quoted == [1_000, 950, 900, 850, 800]


def test_the_floor_holds_and_a_floor_above_the_tag_does_not_raise_it():
    assert quote_price(TAG.record, free_slots=4, discount=500, floor=700) == 700
    assert quote_price(TAG.record, free_slots=4, discount=500, floor=2_000) == 1_000


@given(
    price=st.integers(0, 10**15), total=st.integers(1, 4096), free=st.integers(-1, 5_000),
    discount=st.integers(-5, 5_000), floor=st.integers(0, 10**15),
)  # fmt: skip
def test_a_quote_is_never_above_the_tag_nor_a_gift(price: int, total: int, free: int, discount: int, floor: int):
    offer = an_offer(price=price, total_slots=total)
    quoted = quote_price(offer, free_slots=free, discount=discount, floor=floor)
    assert min(price, floor) <= quoted <= price
    assert quoted >= price - price * MAX_DISCOUNT // 1000


def test_an_award_without_a_quote_is_at_the_tag():
    assert agreed_price(an_award(TAG), TAG, NOW) == 1_000


def test_an_award_with_its_quote_is_at_the_quote():
    assert agreed_price(an_award(TAG, quote=QUOTE.raw), TAG, NOW) == 900


OTHER_TAG = offered_by(SELLER, price=1_000, version=2)


@pytest.mark.parametrize(
    ("tag", "raw", "now"),
    [
        (TAG, b"junk", NOW),
        (TAG, SELLER.sign(a_quote(TAG, bid_id=b"x" * 16)).raw, NOW),
        (TAG, SELLER.sign(a_quote(OTHER_TAG)).raw, NOW),
        (TAG, a_signer("other").sign(a_quote(TAG, provider=a_signer("other").key)).raw, NOW),
        (TAG, SELLER.sign(a_quote(TAG, price=1_001)).raw, NOW),
        (TAG, QUOTE.raw, NOW + 10_000),
    ],
)
def test_a_quote_of_another_kind_is_no_price(tag: Verified[object], raw: bytes, now: int):
    assert agreed_price(an_award(TAG, quote=raw), tag, now) is None  # type: ignore[arg-type]


def test_a_requester_uses_only_quotes_that_are_about_its_bid_and_lower():
    bid = b"b" * 16
    assert is_usable(QUOTE, TAG, bid, NOW)
    assert not is_usable(QUOTE, OTHER_TAG, bid, NOW)
    assert not is_usable(QUOTE, TAG, b"x" * 16, NOW)
    assert not is_usable(QUOTE, TAG, bid, QUOTE.record.expires_at)
    assert not is_usable(SELLER.sign(a_quote(TAG, price=1_000)), TAG, bid, NOW)
    assert not is_usable(SELLER.sign(replace(QUOTE.record, machine="m1")), TAG, bid, NOW)
