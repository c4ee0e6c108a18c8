"""Pauses grow, stop growing, are spread, and begin anew after a success."""

from __future__ import annotations

from random import Random

from node.retry_pause import LAST_S, RetryPause


def test_pauses_double_up_to_the_longest() -> None:
    pause = RetryPause()
    assert [pause.failed() for _ in range(8)] == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_a_success_begins_anew_and_tells_how_many_failed() -> None:
    pause = RetryPause()
    for _ in range(3):
        pause.failed()
    assert pause.succeeded() == 3
    assert pause.succeeded() == 0
    assert pause.failed() == 0.5


def test_two_who_lost_the_same_peer_do_not_return_together() -> None:
    one, other = ([RetryPause(Random(seed)).failed() for _ in range(1)] for seed in (1, 2))
    assert one != other


def test_no_pause_is_longer_than_half_more_than_the_longest() -> None:
    pause = RetryPause(Random(0))
    assert all(0 < pause.failed() <= 1.5 * LAST_S for _ in range(1000))
