"""Jobs on several machines at the command line: which ids are told, which end counts, and what a cancel stops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.cli.plan import plan_lines
from node.control import money, price_view, rfc3339
from tests.fakes.cli_runner import cfab
from tests.fakes.scripted_control import JOB, T0, ScriptedControl, no_match, program_failure, served

RUN = ("run", "--machines", "3", "-t", "10m", "--max-price", "0.40/h", "python:3.12", "--", "python", "train.py")
SECOND, THIRD = "aa" * 16, "bb" * 16
STARTED = {"state": "running", "started_at": rfc3339(T0)}
LOST: dict[str, Any] = {
    "name": "train-2",
    "state": "failed",
    "error": {"code": "start_failed", "message": "the container could not be started", "fix": "", "retryable": False},
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def control(home: Path) -> Iterator[ScriptedControl]:
    node = ScriptedControl()
    node.others = {SECOND: STARTED, THIRD: STARTED}
    with served(node, home / "api.sock"):
        yield node


def test_all_ids_are_told_and_the_first_is_followed(control: ScriptedControl, home: Path) -> None:
    ended = cfab(home, *RUN)
    assert ended.code == 0
    assert control.submitted[0].machines == 3
    assert "jobs 9c9c9c9c aaaaaaaa bbbbbbbb · 3 machines, all or none" in ended.err
    assert "'cfab cancel 9c9c9c9c aaaaaaaa bbbbbbbb' stops all" in ended.err
    assert ended.out == b"epoch 1\nepoch 2\n"


def test_detached_all_ids_are_printed(control: ScriptedControl, home: Path) -> None:
    assert cfab(home, "run", "-d", *RUN[1:]).out.decode().split() == [JOB, SECOND, THIRD]
    assert cfab(home, "run", "-d", "--json", *RUN[1:]).json == {"job": JOB, "jobs": [JOB, SECOND, THIRD]}


def test_a_single_job_is_told_as_ever(control: ScriptedControl, home: Path) -> None:
    control.others = {}
    assert cfab(home, "run", "-d", "--json", *RUN[3:], "x").json == {"job": JOB}


def test_the_code_of_the_first_is_returned(control: ScriptedControl, home: Path) -> None:
    control.events = program_failure(7)
    assert cfab(home, *RUN).code == 7


@pytest.mark.parametrize("first", [0, 7])
def test_a_member_that_never_began_counts_more(control: ScriptedControl, home: Path, first: int) -> None:
    control.events = program_failure(first) if first else control.events
    control.others[THIRD] = LOST
    ended = cfab(home, *RUN)
    assert ended.code == 125
    assert "bbbbbbbb (train-2) never began: the container could not be started" in ended.err


def test_a_member_that_failed_later_does_not_count(control: ScriptedControl, home: Path) -> None:
    control.others[THIRD] = {**LOST, "started_at": rfc3339(T0)}
    assert cfab(home, *RUN).code == 0


def test_a_gang_that_cannot_be_had_is_code_125_and_of_a_file_5(
    control: ScriptedControl, home: Path, tmp_path: Path
) -> None:
    control.events = no_match()
    control.others[THIRD] = LOST
    ended = cfab(home, *RUN)
    assert ended.code == 125
    assert "never began" not in ended.err, "that was told"
    job = tmp_path / "job.yaml"
    job.write_text("image: a\ncommand: x\nmax_price: 1/h\nmax_duration: 1m\nmachines: 3\n")
    assert cfab(home, "submit", str(job)).code == 5


@pytest.mark.parametrize(
    ("view", "told"),
    [
        ({"started_at": rfc3339(T0)}, "it alone of the 3 of its gang"),
        ({"started_at": None}, "all 3 of its gang"),
        ({"state": "cancelled"}, "is already cancelled"),
    ],
)
def test_a_cancel_says_whom_it_stops(control: ScriptedControl, home: Path, view: dict[str, Any], told: str) -> None:
    control.others[SECOND] = {"gang": {"gang": "f0" * 8, "rank": 1, "size": 3}, **view}
    assert told in cfab(home, "cancel", SECOND).out.decode()


def test_show_tells_its_place(control: ScriptedControl, home: Path) -> None:
    control.others[SECOND] = {**STARTED, "gang": {"gang": "f0" * 8, "rank": 1, "size": 3}, "lease": None}
    assert f"gang          1 of 3 (from 0), {'f0' * 8}" in cfab(home, "show", SECOND).out.decode()


def a_plan(**changes: Any) -> str:
    candidate = {"provider": "ab" * 32, "machine": "m0", "price": price_view(9), "expected_cost": money(5)}
    view = {
        "name": "train",
        "image": "a",
        "slots": 1,
        "machines": 2,
        "max_duration_ms": 60_000,
        "max_price": price_view(9),
        "max_total": money(100),
        "offers": 3,
        "matches": 3,
        "candidates": [{**candidate, "rank": rank, "cap": money(40 + rank)} for rank in (1, 2, 3)],
        "together": [1, 3],
        "chosen": 1,
        **changes,
    }
    return "\n".join(plan_lines(view))


def test_a_plan_names_those_that_would_be_asked_together() -> None:
    assert "1 slot on each of 2 machines" in a_plan()
    assert "#1, #3 would be asked, all or none: 0.000084 tokens are set aside" in a_plan()
    assert "the wallet holds too little for #1, #3 together: 0.000084" in a_plan(chosen=None)
    assert "there are not 2 machines of different owners" in a_plan(together=[], chosen=None)
