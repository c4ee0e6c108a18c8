"""Containers as engines describe them, the odd ones included."""

from __future__ import annotations

from typing import Any

import pytest

from market.records import ExitReason
from runtime.docker_state import container_state, program_places, time_ms
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


def ended(path: str, code: int = 127, *, ran: str = "2025-01-02T03:04:05.5Z", env: str = "") -> dict[str, Any]:
    found = inspected(ExitCode=code, FinishedAt=ran)
    found["Path"] = path
    found["Config"]["Env"] = [env] if env else None
    return found


def test_a_program_is_looked_for_where_its_container_would_have_found_it() -> None:
    assert program_places(ended("/opt/train")) == ("/opt/train",)
    assert program_places(ended("train", 126, env="PATH=/a:/b")) == ("/a/train", "/b/train")
    assert "/usr/bin/train" in program_places(ended("train"))


@pytest.mark.parametrize(
    "found",
    [
        ended("/opt/train", 1),
        ended("/opt/train", 0),
        ended("/opt/train", ran="2025-01-02T03:04:07Z"),
        ended("/work/train"),
        ended("/opt/../work/train"),
        ended("./train"),
        ended("train", env="PATH=/usr/bin:/work/bin"),
        ended(""),
    ],
)
def test_a_program_that_ran_or_could_have_removed_itself_is_not_looked_for(found: dict[str, Any]) -> None:
    assert program_places(found) == ()


def test_a_missing_program_is_a_failed_start_and_is_named() -> None:
    state = container_state(ended("trian"), program_missing=True)
    assert (state.error, state.exit_code) == ("the program 'trian' was not found in the image", 127)
    assert exit_reason(state) == ExitReason.START_FAILED
    assert exit_reason(container_state(ended("sh"))) == ExitReason.ERROR
