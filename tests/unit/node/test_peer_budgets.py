"""Budgets and bans."""

from __future__ import annotations

import pytest

from node.peer_budgets import BAN_S, MAX_PEERS, TRUST_POINTS, TRUST_REFILL_S, Bucket, PeerBudgets, Rate

PEER, OTHER = b"p" * 32, b"o" * 32
RATE = Rate(per_second=2.0, burst=3.0)


def test_a_bucket_holds_a_burst_and_fills_with_time() -> None:
    bucket = Bucket(RATE, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(0.4)
    assert bucket.take(0.5)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = Bucket(RATE, 10.0)
    for _ in range(3):
        bucket.take(10.0)
    assert not bucket.take(5.0)
    assert not bucket.take(5.1)


def test_each_peer_and_each_rate_has_a_bucket_of_its_own() -> None:
    budgets = PeerBudgets()
    assert [budgets.allow(PEER, RATE, 0.0) for _ in range(4)] == [True, True, True, False]
    assert budgets.allow(OTHER, RATE, 0.0)
    assert budgets.allow(PEER, Rate(per_second=1.0, burst=1.0), 0.0)


def test_rates_of_the_same_numbers_share_no_bucket() -> None:
    budgets, same = PeerBudgets(), Rate(per_second=RATE.per_second, burst=RATE.burst)
    while budgets.allow(PEER, RATE, 0.0):
        pass
    assert budgets.allow(PEER, same, 0.0)


def test_dear_things_take_more_and_what_cannot_be_paid_takes_nothing() -> None:
    budgets = PeerBudgets()
    assert budgets.allow(PEER, RATE, 0.0, 2.0)
    assert not budgets.allow(PEER, RATE, 0.0, 2.0)
    assert budgets.allow(PEER, RATE, 0.0, 1.0)


def test_trust_runs_out_and_the_ban_ends() -> None:
    budgets = PeerBudgets()
    verdicts = [budgets.penalise(PEER, 0.0) for _ in range(int(TRUST_POINTS) + 2)]
    assert verdicts == [False] * int(TRUST_POINTS) + [True, False]
    assert budgets.is_banned(PEER, BAN_S - 1)
    assert not budgets.is_banned(OTHER, 0.0)
    assert not budgets.is_banned(PEER, BAN_S)
    assert not budgets.penalise(PEER, BAN_S)


def test_rare_faults_are_forgiven() -> None:
    budgets = PeerBudgets()
    assert not any(budgets.penalise(PEER, number * TRUST_REFILL_S) for number in range(100))


@pytest.mark.parametrize("kind", ["rates", "trust", "bans"])
def test_strangers_with_new_keys_fill_nothing(kind: str) -> None:
    budgets = PeerBudgets()
    for number in range(MAX_PEERS + 100):
        key = number.to_bytes(32, "big")
        if kind == "rates":
            budgets.allow(key, RATE, 0.0)
        else:
            budgets.penalise(key, 0.0, TRUST_POINTS + 1 if kind == "bans" else 1.0)
    held = {"rates": budgets._rates, "trust": budgets._trust, "bans": budgets._banned_until}[kind]
    assert len(held) == MAX_PEERS
    newest = (MAX_PEERS + 99).to_bytes(32, "big")
    assert budgets.is_banned(newest, 0.0) == (kind == "bans")
