"""No fee above its cap, and every replacement dear enough for any node."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.gas_fees import GWEI, Fee, FeeCaps, GasMarket, opening_fee, raised_fee

CAPS = FeeCaps(usual=100 * GWEI, urgent=300 * GWEI, opening_tip=5 * GWEI)
WEI = st.integers(0, 10**13)


def test_the_first_offer_leaves_room_for_the_base_fee_to_double() -> None:
    assert opening_fee(GasMarket(10 * GWEI, GWEI), CAPS, urgent=False) == Fee(21 * GWEI, GWEI)
    assert opening_fee(GasMarket(80 * GWEI, GWEI), CAPS, urgent=False) == Fee(100 * GWEI, GWEI)


def test_gas_above_the_cap_is_not_paid_and_what_is_urgent_has_a_higher_one() -> None:
    market = GasMarket(150 * GWEI, GWEI)
    assert opening_fee(market, CAPS, urgent=False) is None
    assert opening_fee(market, CAPS, urgent=True) == Fee(300 * GWEI, GWEI)


def test_an_endpoint_cannot_talk_us_into_a_tip() -> None:
    assert opening_fee(GasMarket(GWEI, 90 * GWEI), CAPS, urgent=False) == Fee(7 * GWEI, 5 * GWEI)


def test_a_fee_that_could_not_be_mined_even_at_the_cap_is_not_raised() -> None:
    assert raised_fee(Fee(20 * GWEI, GWEI), GasMarket(101 * GWEI, GWEI), 100 * GWEI) is None


@given(most=WEI, tip=WEI, base=WEI, asked=WEI, cap=WEI)
def test_a_raise_replaces_at_any_node_and_stays_within_the_cap(
    most: int, tip: int, base: int, asked: int, cap: int
) -> None:
    old = Fee(most, min(tip, most))
    new = raised_fee(old, GasMarket(base, asked), cap)
    if new is not None:
        assert new.most * 8 >= old.most * 9
        assert new.tip * 8 >= old.tip * 9
        assert new.tip <= new.most <= cap
        assert base <= cap


@given(base=WEI, tip=WEI, urgent=st.booleans())
def test_no_first_offer_is_above_its_cap(base: int, tip: int, urgent: bool) -> None:
    fee = opening_fee(GasMarket(base, tip), CAPS, urgent=urgent)
    if fee is not None:
        assert base + fee.tip <= fee.most <= CAPS.of(urgent=urgent)
