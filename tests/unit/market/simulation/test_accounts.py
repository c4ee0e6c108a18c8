"""The figures of a run, counted by hand."""

from __future__ import annotations

import pytest

from market.simulation.accounts import account, jain
from market.simulation.epochs import Epoch, Fate
from tests.fakes.simulated import a_job, a_machine

ROWS = [a_machine(0, price=100, free=2), a_machine(1, price=110, free=4)]
FATES = (
    Fate(a_job(1, max_price=200), 0, 0, 1, -1),
    Fate(a_job(2, max_price=150, slots=2), 0, 1, 2, -1),
    Fate(a_job(3, max_price=300, slots=2), 0, -1, 8, 1),
    Fate(a_job(4, max_price=120), 0, -1, 1, -1),
    Fate(a_job(5, max_price=10), -1, -1, 0, -1),
)
ONE = account(ROWS, [Epoch((2, 4), FATES, (0, 1, 1, 0, -1))])


def test_who_was_served_and_when():
    assert (ONE.bids, ONE.could) == (5, 4)
    assert ONE.served == 2 / 4
    assert ONE.first_try == 1 / 2
    assert ONE.tries == 3 / 2
    assert ONE.missed == 1 / 4
    assert ONE.served_by_size == {1: 1 / 2, 2: 1 / 2}
    assert ONE.sizes == 1.0


def test_what_they_keep_and_pay():
    assert ONE.welfare == 100 + 2 * 40
    assert ONE.in_turn == 100 + 2 * 40 + 2 * 190 + 20
    assert ONE.premium == pytest.approx((100 + 2 * 110) / (100 + 2 * 100) - 1)
    # The best: both slots at 100 and all four at 110 go round: 2×190 and 2×40 there, 100 and 20 here.
    assert ONE.of_best == pytest.approx(180 / 580, rel=0.01)


def test_who_earned():
    assert ONE.earnings == pytest.approx(jain([100 * 1 / 2, 110 * 2 / 4]))
    assert ONE.work == pytest.approx(jain([1 / 2, 2 / 4]))


def test_jain():
    assert jain([5, 5, 5, 5]) == 1
    assert jain([7, 0, 0, 0]) == 1 / 4
    assert jain([]) == jain([0, 0]) == 1


def test_a_market_without_bids_has_an_account():
    empty = account(ROWS, [])
    assert (empty.bids, empty.served, empty.first_try, empty.of_best, empty.premium) == (0, 0, 0, 1, 0)
