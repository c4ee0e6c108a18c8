"""Slots: reserved before promised, never twice, and each award judged by the tag it names."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from market.inventory import FENCING_LUCK, Inventory, fencing_from, judge_award, release, reserve, restore
from market.records import Award, RefusalReason
from tests.fakes.samples import NOW, SELLER, TERMS, an_award, an_offer

EMPTY = Inventory(machine="m0", total_slots=3)


def test_the_lowest_free_slots_are_taken_and_fencing_grows():
    first = reserve(EMPTY, b"one", 2)
    assert first is not None
    assert (first.slots, first.fencing, first.inventory.free_slots) == ((0, 1), 1, 1)
    second = reserve(first.inventory, b"two", 1)
    assert second is not None
    assert (second.slots, second.fencing) == ((2,), 2)
    assert reserve(second.inventory, b"three", 1) is None
    freed = release(second.inventory, b"one")
    third = reserve(freed, b"three", 1)
    assert third is not None
    assert (third.slots, third.fencing) == ((0,), 3), "a slot sold again has a higher number"


def test_reserving_changes_nothing_in_what_was_given():
    reserve(EMPTY, b"one", 2)
    assert EMPTY.free_slots == 3
    assert EMPTY.fencing == 0


def test_one_lease_does_not_reserve_twice():
    taken = reserve(EMPTY, b"one", 1)
    assert taken is not None
    with pytest.raises(ValueError, match="already"):
        reserve(taken.inventory, b"one", 1)


def test_releasing_is_safe_to_repeat_and_for_strangers():
    taken = reserve(EMPTY, b"one", 1)
    assert taken is not None
    freed = release(taken.inventory, b"one")
    assert freed == release(freed, b"one") == release(freed, b"nobody")
    assert release(taken.inventory, b"nobody") == taken.inventory


def test_a_lease_from_the_journal_gets_its_slots_back():
    again = restore(EMPTY, b"one", (1, 2), fencing=7)
    assert again.held == {1: b"one", 2: b"one"}
    assert again.fencing == 7
    assert restore(again, b"one", (1, 2), fencing=3) == again
    following = reserve(again, b"two", 1)
    assert following is not None
    assert (following.slots, following.fencing) == ((0,), 8)


def test_a_journal_with_one_slot_sold_twice_is_noticed():
    again = restore(EMPTY, b"one", (1,), fencing=1)
    with pytest.raises(ValueError, match="one slot"):
        restore(again, b"two", (0, 1), fencing=2)


def test_a_lease_that_is_over_still_counts_for_the_fencing_number():
    assert restore(EMPTY, b"old", (), fencing=41).fencing == 41


def test_an_owner_who_sells_fewer_slots_than_are_leased_has_none_free():
    kept = restore(Inventory(machine="m0", total_slots=1), b"one", (0, 1, 2), fencing=1)
    assert kept.free_slots == 0
    assert reserve(kept, b"two", 1) is None


TAG = SELLER.sign(an_offer())
AWARD = an_award(TAG)


def judge(award: Award = AWARD, *, tags: Any = (TAG,), draining: bool = False) -> RefusalReason | None:
    return judge_award(award, tags, EMPTY, now=NOW, draining=draining)


def test_an_honest_award_is_honoured():
    assert judge() is None
    assert judge(replace(AWARD, slots=3)) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"offer_id": bytes(32)}, RefusalReason.STALE_PRICE),
        ({"price": AWARD.price - 1}, RefusalReason.STALE_PRICE),
        ({"price": AWARD.price + 1}, RefusalReason.STALE_PRICE),
        ({"machine": "m1"}, RefusalReason.STALE_PRICE),
        ({"offer_version": 2}, RefusalReason.STALE_PRICE),
        ({"chain_id": 1}, RefusalReason.WRONG_SETTLEMENT),
        ({"escrow": b"x" * 20}, RefusalReason.WRONG_SETTLEMENT),
        ({"payee": b"x" * 20}, RefusalReason.WRONG_SETTLEMENT),
        ({"terms": replace(TERMS, grace_ms=TERMS.grace_ms + 1)}, RefusalReason.WRONG_SETTLEMENT),
        ({"terms": replace(TERMS, tick_ms=3_600_000)}, RefusalReason.WRONG_SETTLEMENT),
        ({"expires_at": NOW}, RefusalReason.EXPIRED),
        ({"issued_at": NOW + 60_001}, RefusalReason.EXPIRED),
        ({"slots": 4}, RefusalReason.NO_CAPACITY),
    ],
)
def test_an_altered_award_is_refused(changes: dict[str, object], reason: RefusalReason):
    assert judge(replace(AWARD, **changes)) is reason


def test_the_borders_of_time_are_honoured():
    assert judge(replace(AWARD, expires_at=NOW + 1)) is None
    assert judge(replace(AWARD, issued_at=NOW + 60_000)) is None


def test_without_any_tag_the_offer_is_unknown():
    assert judge(tags=[]) is RefusalReason.UNKNOWN_OFFER


def test_an_owner_who_drains_takes_nothing():
    assert judge(draining=True) is RefusalReason.DRAINING


def test_an_older_tag_that_is_still_honoured_binds_at_its_own_price():
    newer = SELLER.sign(an_offer(version=2, price=300_000))
    assert judge(tags=[newer, TAG]) is None
    assert judge(replace(AWARD, price=300_000), tags=[newer, TAG]) is RefusalReason.STALE_PRICE


def test_fencing_numbers_grow_with_the_clock_whatever_is_drawn():
    assert fencing_from(7, FENCING_LUCK - 1) < fencing_from(8, 0)
    assert fencing_from(7, 1) != fencing_from(7, 2)
    assert fencing_from(1_800_000_000_000, 0) > 1_800_000_000_000, "above the plain clock of older journals"
    year_2240 = 8_520_336_000_000
    assert fencing_from(year_2240, FENCING_LUCK - 1) < 2**53


@pytest.mark.parametrize("luck", [-1, FENCING_LUCK])
def test_luck_stays_within_its_millisecond(luck: int):
    with pytest.raises(ValueError, match="next millisecond"):
        fencing_from(7, luck)


def test_a_burst_within_a_millisecond_still_grows():
    first = reserve(EMPTY, b"one", 1, at_least=fencing_from(7, 9))
    assert first is not None
    second = reserve(first.inventory, b"two", 1, at_least=fencing_from(7, 3))
    assert second is not None
    assert second.fencing == first.fencing + 1
