"""What a job's owner is told at the end, whatever the provider claimed."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from market import money
from market.errors import InvalidRequest
from market.lease import LeaseState, Stage
from market.records import ExitReason
from node.control import TERMINAL_STATES
from node.gas_at_hand import GasMissing
from node.job_outcome import describe_gas_shortage, describe_lease, describe_outcome, describe_shortage
from tests.fakes.samples import BUYER, NOW, SELLER, TERMS, a_lease, an_award


def ended(reason: ExitReason | None, code: int = -1, stage: Stage = Stage.SETTLED) -> LeaseState:
    return LeaseState(
        price=1,
        slots=1,
        max_duration_ms=1_000,
        terms=TERMS,
        since=NOW,
        stage=stage,
        exit_reason=reason,
        exit_code=code,
    )


@pytest.mark.parametrize(("reason", "code", "cancelled"), [*product([None, *ExitReason], [-1, 0, 3], [True, False])])
def test_every_end_has_a_word(reason: ExitReason | None, code: int, cancelled: bool):
    """The reason and the code come from the provider in any combination; none may stop the one who reads them."""
    kind, detail = describe_outcome(ended(reason, code), None, cancelled=cancelled)
    assert kind in TERMINAL_STATES
    assert (kind == "succeeded") == (reason is ExitReason.OK and code == 0)
    if kind == "failed":
        assert detail["code"]
        assert detail["message"]
        assert detail["fix"]
        assert detail["exit_code"] == code
        assert isinstance(detail["retryable"], bool)


def test_only_its_owner_cancels_a_job():
    assert describe_outcome(ended(ExitReason.CANCELLED), None, cancelled=True) == ("cancelled", {})
    assert describe_outcome(ended(None, stage=Stage.LAPSED), None, cancelled=True) == ("cancelled", {})
    kind, detail = describe_outcome(ended(ExitReason.CANCELLED), None, cancelled=False)
    assert (kind, detail["retryable"]) == ("failed", True)


def test_a_job_that_ended_by_itself_before_the_cancel_arrived_did_not_get_cancelled():
    assert describe_outcome(ended(ExitReason.OK, 0), None, cancelled=True)[0] == "succeeded"
    assert describe_outcome(ended(ExitReason.ERROR, 1), None, cancelled=True)[0] == "failed"


@pytest.mark.parametrize(
    ("reason", "code", "word"),
    [
        (ExitReason.ERROR, 3, "exit"),
        (ExitReason.OK, 3, "exit"),
        (ExitReason.OOM, 137, "oom"),
        (ExitReason.UNPAID, -1, "unpaid"),
        (None, -1, "not_funded"),
    ],
)
def test_a_failure_has_a_code_for_programs(reason: ExitReason | None, code: int, word: str):
    assert describe_outcome(ended(reason, code), None, cancelled=False)[1]["code"] == word


def test_our_own_mistake_is_told_before_anything_else():
    error = InvalidRequest("the wallet is empty", code="tokens_short", fix="send tokens")
    kind, detail = describe_outcome(ended(None, stage=Stage.LAPSED), error, cancelled=True)
    assert (kind, detail["code"], detail["fix"], detail["retryable"]) == (
        "failed",
        "tokens_short",
        "send tokens",
        False,
    )


def test_a_lease_is_told_with_what_it_can_cost_and_what_can_be_lost():
    award = BUYER.sign(an_award(slots=2))
    detail: dict[str, Any] = describe_lease(SELLER.sign(a_lease(award)), gpu="H100")
    assert detail["provider"] == SELLER.key.hex()
    assert detail["gpu"] == "H100"
    assert detail["cap"]["units"] == money.amount_due(100_000, 2 * 600_000)
    assert detail["exposure"]["units"] == money.amount_due(100_000, 2 * (TERMS.tick_ms + TERMS.grace_ms))


@pytest.mark.parametrize("end", [ended(ExitReason.CANCELLED), ended(None, stage=Stage.LAPSED)])
def test_who_was_ended_because_of_another_of_its_gang_failed_and_may_be_tried_again(end: LeaseState):
    kind, detail = describe_outcome(end, None, cancelled=True, because="gang member 2 could not start")
    assert (kind, detail["code"], detail["message"]) == ("failed", "gang_incomplete", "gang member 2 could not start")
    assert detail["retryable"]


def test_who_had_ended_by_himself_keeps_his_own_end():
    because = "gang member 2 could not start"
    assert describe_outcome(ended(ExitReason.OK, 0), None, cancelled=True, because=because)[0] == "succeeded"
    assert describe_outcome(ended(ExitReason.OOM, 137), None, cancelled=True, because=because)[1]["code"] == "oom"


def test_a_shortage_says_for_how_many_machines_it_is():
    assert "on 3 machines" in describe_shortage(2, 1, machines=3)["message"]
    assert "machines" not in describe_shortage(2, 1)["message"]


def test_a_shortage_says_what_is_missing_and_what_is_there():
    message = describe_shortage(2_500_000, 1_000_000)["message"]
    for piece in ("at least 2.5", "may spend 1", "1.5"):
        assert piece in message


def test_missing_gas_is_told_in_gwei_with_the_account_to_send_it_to():
    told = describe_gas_shortage(GasMissing(account=b"\x11" * 20, needed=40_000 * 10**9, have=1_500_000_000))
    assert told["code"] == "gas_short"
    assert f"0x{'11' * 20} cannot pay for gas: it holds 1.5 gwei" in told["message"]
    assert told["message"].endswith("at least 40000")
    assert "send the wallet" in told["fix"]


def test_a_shortage_may_be_the_limit_of_the_day():
    assert "daily_limit" in describe_shortage(2, 1)["fix"]
