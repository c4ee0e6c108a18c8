"""Highest response ratio next: short jobs go early, and nobody waits for ever."""

from __future__ import annotations

import random

from market.queueing import HOLDS_AFTER_MS, Waiting, holds, in_turn, priority

MINUTE, HOUR = 60_000, 3_600_000


def a_job(number: int, *, since: int = 0, length: int = HOUR) -> Waiting:
    return Waiting(number=number, since=since, length=length)


def order(*jobs: Waiting, now: int) -> list[int]:
    return [job.number for job in in_turn(jobs, now)]


def test_of_two_that_came_together_the_shorter_goes_first():
    assert order(a_job(0, length=HOUR), a_job(1, length=MINUTE), now=1) == [1, 0]


def test_a_short_job_that_comes_later_is_not_stuck_behind_a_long_one():
    long, short = a_job(0, length=10 * HOUR), a_job(1, since=HOUR, length=MINUTE)
    assert order(long, short, now=HOUR) == [0, 1]
    assert order(long, short, now=HOUR + 10_000) == [1, 0]


def test_a_long_job_that_has_waited_goes_before_a_short_one_that_has_just_come():
    long, short = a_job(0, length=10 * HOUR), a_job(1, since=5 * HOUR, length=MINUTE)
    assert order(long, short, now=5 * HOUR + 20_000) == [0, 1]


def test_equal_jobs_go_in_the_order_of_their_submission():
    assert order(a_job(2), a_job(0), a_job(1), now=HOUR) == [0, 1, 2]
    assert order(a_job(1, since=5), a_job(0, since=4), now=3) == [0, 1], "a clock set back is no priority"


def test_the_ratio_is_exact_to_the_millisecond_for_the_longest_jobs():
    longest = 31 * 24 * HOUR * 4096
    assert priority(a_job(0, length=longest), 10_000) > priority(a_job(0, length=longest), 9_999)
    assert priority(a_job(0, length=1), 10**15) == (10**15 + 1) << 64


def served(jobs: list[Waiting]) -> dict[int, int]:
    """Serve the jobs on one machine, each for its whole length; when each began."""
    now, waiting, began = 0, list(jobs), {}
    while waiting:
        here = [job for job in waiting if job.since <= now] or [min(waiting, key=lambda job: job.since)]
        first = in_turn(here, now)[0]
        began[first.number] = max(now, first.since)
        now = began[first.number] + first.length
        waiting.remove(first)
    return began


def test_a_long_job_is_served_though_short_ones_keep_the_machine_busy_for_ever():
    """Short jobs come exactly as fast as they are served: first in line by length, the long one would never begin."""
    backlog = [a_job(number, length=MINUTE) for number in range(10)]
    stream = [a_job(10 + number, since=number * MINUTE, length=MINUTE) for number in range(3000)]
    long = a_job(10_000, length=2 * HOUR)
    began = served([*backlog, long, *stream])
    # Each short one begins with a ratio of about 11, so the long one goes when it has waited ten times its length.
    assert 18 * HOUR < began[long.number] < 23 * HOUR
    last_short = max(began[job.number] for job in stream)
    assert began[long.number] < last_short


def test_short_jobs_wait_less_than_in_the_order_of_submission():
    rng = random.Random(5)
    jobs = [
        a_job(number, since=number * 1000, length=rng.choice([MINUTE, 5 * MINUTE, 2 * HOUR])) for number in range(60)
    ]
    began, now, in_order = served(jobs), 0, {}
    for job in jobs:
        in_order[job.number] = max(now, job.since)
        now = in_order[job.number] + job.length
    short = [job for job in jobs if job.length == MINUTE]
    waited = [sum(start[job.number] - job.since for job in short) for start in (began, in_order)]
    assert waited[0] * 5 < waited[1]


def test_who_waits_holds_and_lets_go_for_times_that_grow():
    waits = [number * HOLDS_AFTER_MS for number in range(17)]
    held = [holds(a_job(0, since=100), 100 + waited) for waited in waits]
    assert held == [False] + [True] + [False] * 2 + [True] * 4 + [False] * 8 + [True]
    assert not holds(a_job(0), HOLDS_AFTER_MS - 1)
    assert not holds(a_job(0, since=HOUR), 0), "a clock set back is no time waited"
