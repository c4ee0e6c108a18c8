"""What a provider's behaviour does to its standing: baits, races, broken leases, and forgiveness."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from market.conduct import (
    FIRST_PAUSE_MS,
    LAST_PAUSE_MS,
    MEMORY,
    NEW,
    PRIOR_FAILURE,
    Conduct,
    after_end,
    after_lease,
    after_refusal,
    is_bait,
)
from market.records import ExitReason, RefusalReason
from tests.fakes.samples import NOW, a_refusal, an_award


def refused(conduct: Conduct, version: int, now: int = NOW, **changes: object) -> Conduct:
    plain: dict[str, object] = {"reason": RefusalReason.STALE_PRICE, "version": version, **changes}
    return after_refusal(conduct, an_award(offer_version=version), a_refusal(**plain), now)


def test_a_stranger_is_spotless_and_yet_expected_to_fail_now_and_then():
    assert (NEW.reputation, NEW.failure) == (1000, PRIOR_FAILURE)


def test_two_baits_at_two_versions_and_it_is_left_alone():
    once = refused(NEW, 5)
    assert not once.is_quiet(NOW)
    twice = refused(once, 6)
    assert twice.is_quiet(NOW + FIRST_PAUSE_MS - 1)
    assert not twice.is_quiet(NOW + FIRST_PAUSE_MS)


def test_many_awards_at_one_version_are_one_bait():
    """A burst of our own jobs at one tag must not ban an honest provider."""
    conduct = NEW
    for _ in range(10):
        conduct = refused(conduct, 5)
    assert (conduct.refused, conduct.is_quiet(NOW)) == (1, False)


def test_it_is_left_alone_twice_as_long_each_time_up_to_an_hour():
    conduct, pauses = NEW, []
    for version in range(1, 41):
        conduct = refused(conduct, version)
        if version % 2 == 0:
            pauses.append(conduct.quiet_until - NOW)
    assert pauses[:4] == [FIRST_PAUSE_MS, 2 * FIRST_PAUSE_MS, 4 * FIRST_PAUSE_MS, 8 * FIRST_PAUSE_MS]
    assert pauses[-1] == LAST_PAUSE_MS


def slipped(conduct: Conduct, now: int = NOW) -> Conduct:
    return refused(conduct, 5, now, reason=RefusalReason.BAD_QUOTE)


def test_a_quote_that_is_not_honoured_says_nothing_about_tags():
    conduct = slipped(slipped(slipped(NEW)))
    assert (conduct.refused, conduct.baits, conduct.reputation) == (0, 0, 1000)
    assert not conduct.is_quiet(NOW)


def test_one_slip_of_a_quote_is_nothing_and_more_make_quotes_not_worth_asking_for():
    once = slipped(NEW)
    assert not once.quotes_in_vain(NOW)
    twice = slipped(once)
    assert twice.quotes_in_vain(NOW + FIRST_PAUSE_MS - 1)
    assert not twice.quotes_in_vain(NOW + FIRST_PAUSE_MS)
    thrice = slipped(twice)
    assert thrice.quotes_in_vain(NOW + 2 * FIRST_PAUSE_MS - 1)
    for _ in range(40):
        thrice = slipped(thrice)
    assert not thrice.quotes_in_vain(NOW + LAST_PAUSE_MS)


def test_awards_that_are_honoured_make_up_for_slips_one_by_one():
    conduct = after_lease(after_lease(slipped(slipped(NEW))))
    assert conduct.slips == 0
    assert not slipped(conduct).quotes_in_vain(NOW + FIRST_PAUSE_MS)
    assert after_lease(NEW).slips == 0


def test_an_honoured_award_makes_up_for_it():
    conduct = after_lease(refused(refused(NEW, 1), 2))
    assert not conduct.is_quiet(NOW)
    assert refused(refused(conduct, 3), 4).quiet_until == NOW + FIRST_PAUSE_MS


def test_losing_a_race_is_no_bait():
    award = an_award(offer_version=5, slots=2)
    no_room = RefusalReason.NO_CAPACITY
    assert not is_bait(award, a_refusal(reason=no_room, version=6, free_slots=2)), "it has posted since"
    assert not is_bait(award, a_refusal(reason=no_room, version=5, free_slots=1)), "others were quicker"
    assert is_bait(award, a_refusal(reason=no_room, version=5, free_slots=2)), "it has the slots and does not sell them"


def test_a_refusal_that_is_our_own_fault_is_none_of_theirs():
    for reason in (RefusalReason.BAD_SPEC, RefusalReason.EXPIRED, RefusalReason.NOT_ADMITTED):
        assert not is_bait(an_award(offer_version=5), a_refusal(reason=reason, version=5, free_slots=4))


def test_leases_are_judged_by_who_ended_them():
    kept = [ExitReason.OK, ExitReason.ERROR, ExitReason.OOM, ExitReason.TIME_LIMIT]
    either = [ExitReason.IMAGE, ExitReason.START_FAILED]
    for reason in ExitReason:
        conduct = after_end(NEW, reason, by_us=False)
        wanted = (1, 0) if reason in kept else (0, 0) if reason in either else (0, 1)
        assert (conduct.kept, conduct.broken) == wanted, reason
        assert after_end(NEW, reason, by_us=True).broken == 0
    assert after_end(NEW, None, by_us=False).broken == 1


def test_broken_leases_raise_what_is_expected_and_lower_the_name():
    conduct = NEW
    for _ in range(10):
        conduct = after_end(conduct, ExitReason.LOST, by_us=False)
    assert conduct.failure == (10_000 + PRIOR_FAILURE * 10) // 20
    assert conduct.reputation == 1000 // 11


def test_what_is_long_ago_fades():
    conduct = NEW
    for _ in range(MEMORY):
        conduct = after_end(conduct, ExitReason.LOST, by_us=False)
    for _ in range(3 * MEMORY):
        conduct = after_lease(conduct)
    assert conduct.reputation > 800


@given(st.lists(st.sampled_from(["lease", "refusal", "good", "bad"]), max_size=300))
def test_every_figure_stays_a_permille(story: list[str]):
    conduct = NEW
    for version, step in enumerate(story, 1):
        if step == "lease":
            conduct = after_lease(conduct)
        elif step == "refusal":
            conduct = refused(conduct, version)
        else:
            conduct = after_end(conduct, ExitReason.OK if step == "good" else ExitReason.LOST, by_us=False)
        assert 0 <= conduct.reputation <= 1000
        assert 0 <= conduct.failure <= 1000
