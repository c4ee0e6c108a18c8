"""Containers as engines describe them, the odd ones included."""

from __future__ import annotations

from typing import Any

import pytest

from market.records import ExitReason
from runtime.docker_state import container_state, time_ms
from runtime.ports import exit_reason


def inspected(**changes: Any) -> dict[str, Any]:
    state = {
        "Status": "exited",
        "ExitCode": 0,
        "OOMKilled": False,
        "Error": "",
        "StartedAt": "2025-01-02T03:04:05.123456789Z",
        "FinishedAt": "2025-01-02T03:04:07.5Z",
    }
    labels = {"cfab.lease": "0123456789abcdef", "cfab.fencing": "3", "cfab.stop_after_ms": "2000"}
    return {"State": {**state, **changes}, "Config": {"Labels": labels}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-01-02T03:04:05.123456789Z", 1735787045123),
        ("2025-01-02T03:04:05Z", 1735787045000),
        ("2025-01-02T03:04:05.5Z", 1735787045500),
        ("0001-01-01T00:00:00Z", 0),
        ("", 0),
    ],
)
def test_times(text: str, expected: int) -> None:
    assert time_ms(text) == expected


def test_a_clean_exit() -> None:
    state = container_state(inspected())
    assert (state.phase, state.exit_code, state.finished_at - state.started_at) == ("exited", 0, 2377)
    assert exit_reason(state) == ExitReason.OK


def test_a_running_container_has_no_end() -> None:
    state = container_state(inspected(Status="running", FinishedAt="0001-01-01T00:00:00Z"))
    assert (state.phase, state.exit_code, state.finished_at) == ("running", -1, 0)


def test_a_failed_start_is_an_end() -> None:
    state = container_state(inspected(Status="created", Error="no such device", ExitCode=128))
    assert (state.phase, exit_reason(state)) == ("exited", ExitReason.START_FAILED)


def test_the_watchdogs_mark_counts_only_if_the_time_was_up() -> None:
    late = container_state(inspected(ExitCode=137), stopped_by_deadline=True)
    assert exit_reason(late) == ExitReason.TIME_LIMIT
    early = container_state(inspected(FinishedAt="2025-01-02T03:04:06.9Z"), stopped_by_deadline=True)
    assert exit_reason(early) == ExitReason.OK


def test_a_child_that_ran_out_of_memory_is_not_the_jobs_end() -> None:
    assert exit_reason(container_state(inspected(OOMKilled=True))) == ExitReason.OK
    assert exit_reason(container_state(inspected(OOMKilled=True, ExitCode=137))) == ExitReason.OOM
