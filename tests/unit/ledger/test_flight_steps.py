"""Each thing that a chain may say of a transaction leads to one step."""

from __future__ import annotations

import pytest

from ledger.flight_steps import MISSES_ALLOWED, Progress, Sight, Step, StepRules, next_step
from ledger.ports import Transaction

RULES = StepRules(bump_after_s=30, final_after=12)
MINED = Transaction(hash=b"\x01" * 32, block=100, succeeded=True, gas_used=21_000)


def sight(head: int = 100, *, found: Transaction | None = None, used: bool = False) -> Sight:
    return Sight(found=found, used=used or found is not None, head=head)


def progress(**known: object) -> Progress:
    return Progress(**{"sent_at": 0.0, "confirmations": 2} | known)  # type: ignore[arg-type]


@pytest.mark.parametrize(("head", "step"), [(100, Step.WAIT), (101, Step.WAIT), (102, Step.CONFIRM)])
def test_a_mined_transaction_is_told_when_it_is_confirmed(head: int, step: Step) -> None:
    assert next_step(progress(), sight(head, found=MINED), 0, RULES) is step


@pytest.mark.parametrize(("head", "step"), [(111, Step.WAIT), (112, Step.FINISH)])
def test_and_forgotten_when_it_is_final(head: int, step: Step) -> None:
    assert next_step(progress(told=True), sight(head, found=MINED), 0, RULES) is step


def test_confirmations_above_the_final_depth_count() -> None:
    deep = progress(told=True, confirmations=20)
    assert next_step(deep, sight(119, found=MINED), 0, RULES) is Step.WAIT
    assert next_step(deep, sight(120, found=MINED), 0, RULES) is Step.FINISH


@pytest.mark.parametrize("told", [False, True])
def test_one_that_vanished_is_sent_again_at_once_and_once(told: bool) -> None:
    known = progress(mined=MINED, told=told)
    assert next_step(known, sight(), 1, RULES) is Step.SEND_AGAIN
    assert next_step(known, sight(), 2, RULES) is Step.WAIT


def test_a_fee_is_raised_when_the_patience_with_it_is_over() -> None:
    assert next_step(progress(), sight(), 29.9, RULES) is Step.WAIT
    assert next_step(progress(), sight(), 30, RULES) is Step.RAISE


def test_a_used_nonce_without_a_receipt_is_looked_at_some_times_before_it_is_given_up() -> None:
    known = progress()
    steps = [next_step(known, sight(used=True), 99, RULES) for _ in range(MISSES_ALLOWED)]
    assert steps == [Step.WAIT] * (MISSES_ALLOWED - 1) + [Step.DISPLACED]


def test_looks_that_find_it_after_all_begin_the_count_again() -> None:
    known = progress()
    for _ in range(MISSES_ALLOWED - 1):
        next_step(known, sight(used=True), 0, RULES)
    next_step(known, sight(found=MINED), 0, RULES)
    assert next_step(known, sight(used=True), 0, RULES) is Step.WAIT


def test_one_that_is_being_launched_is_left_to_who_launches_it() -> None:
    known = progress(launching=True)
    assert {next_step(known, sight(used=True), 99, RULES) for _ in range(9)} == {Step.WAIT}
