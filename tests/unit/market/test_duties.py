"""Each stage has one duty for each side, and no duty is without a stage."""

from __future__ import annotations

from market.duties import DUTIES, Duty, Role, duty
from market.lease import OVER, Stage


def test_every_stage_has_a_duty_for_each_side():
    assert set(DUTIES) == set(Stage)
    for stage in Stage:
        assert set(DUTIES[stage]) == set(Role)
        assert isinstance(duty(stage, Role.PROVIDER), Duty)


def test_every_duty_is_somebodys_in_some_stage():
    assert {one for duties in DUTIES.values() for one in duties.values()} == set(Duty)


def test_the_two_sides_never_share_a_duty():
    provider = {duties[Role.PROVIDER] for duties in DUTIES.values()}
    requester = {duties[Role.REQUESTER] for duties in DUTIES.values()}
    assert provider & requester == set()


def test_what_is_over_is_cleaned_up_on_both_sides():
    for stage in OVER:
        assert duty(stage, Role.PROVIDER) is Duty.RELEASE_SLOTS
        assert duty(stage, Role.REQUESTER) is Duty.FREE_COVER
