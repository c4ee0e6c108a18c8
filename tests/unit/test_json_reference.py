"""docs/json.md is what the types say, and the types are what is really printed."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import click
import pytest

from node.cli.root import root
from node.cli.shapes import PRINTED
from node.control import JOB_EVENTS
from node.job_events import EVENTS
from node.job_outcome import describe_shortage
from node.lane_history import sum_events
from node.lane_share import LaneShare, describe_share
from tests.fakes.cli_runner import cfab
from tests.fakes.scripted_control import ScriptedControl, no_match, program_failure, served, success

ROOT = Path(__file__).parents[2]
RUN = ("run", "--json", "-t", "10m", "--max-price", "1/h", "image", "--", "x")
COMMON = {"seq": int, "time": str, "type": str}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def control(home: Path) -> Iterator[ScriptedControl]:
    node = ScriptedControl()
    with served(node, home / "api.sock"):
        yield node


def undocumented(value: Any, kind: Any, where: str = "") -> list[str]:
    """Paths of the fields in ``value`` that its documented shape does not have."""
    if is_typeddict(kind) and isinstance(value, dict):
        fields = get_type_hints(kind)
        unknown = [f"{where}.{name}" for name in value if name not in fields]
        known = [name for name in value if name in fields]
        return unknown + [path for name in known for path in undocumented(value[name], fields[name], f"{where}.{name}")]
    if get_origin(kind) is list and isinstance(value, list):
        return [path for one in value for path in undocumented(one, get_args(kind)[0], where + "[]")]
    if get_args(kind) and value is not None and isinstance(value, dict):
        return undocumented(value, next((one for one in get_args(kind) if is_typeddict(one)), Any), where)
    return []


def undocumented_of(event: dict[str, Any]) -> list[str]:
    """The same of an event."""
    own = {name: value for name, value in event.items() if name not in COMMON}
    return undocumented(own, EVENTS[event["type"]], event["type"])


def test_the_document_is_what_the_types_say() -> None:
    written = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    assert written == runpy.run_path(str(ROOT / "tools" / "json_reference.py"))["reference"](), (
        "run: python tools/json_reference.py"
    )


def test_every_event_and_every_command_is_in_it() -> None:
    assert set(EVENTS) == set(JOB_EVENTS)
    assert set(PRINTED) == set(_leaves(root, ()))


@pytest.mark.parametrize("script", [success(), program_failure(7), no_match()], ids=["good", "failing", "unmatched"])
def test_events_have_no_field_that_is_not_documented(
    control: ScriptedControl, home: Path, script: list[dict[str, Any]]
) -> None:
    control.events = script
    for line in cfab(home, *RUN).lines:
        if line["type"] != "log":
            assert undocumented_of(line) == []


def test_what_the_node_says_of_money_is_documented() -> None:
    totals = sum_events([], balance=0, claimed=0)
    share = LaneShare(set_aside=3, vouched=2, drawn=1)
    settled = {"type": "settled", **describe_share(share, totals.transactions, totals)}
    assert set(settled) - {"type"} == set(get_type_hints(EVENTS["settled"]))
    assert undocumented_of(settled) == []
    assert undocumented_of({"type": "failed", **describe_shortage(2, 1)}) == []


@pytest.mark.parametrize(
    "words",
    ["status", "doctor", "ps", "show -", "cancel -", "offers", "depth", "history", "bids",
     "provider pause", "provider resume", "provider status", "provider price --gpu RTX4090",
     "provider set-price 0.32/h", "wallet show", "wallet exit 0x03", "wallet balance",
     "wallet withdraw 0x03", "wallet deposit 0x03 1 --yes", "wallet history", "wallet payouts", "provider earnings",
     "stake show", "stake add 5 --yes", "stake leave", "stake take", "receipts list", "config", "version"],
)  # fmt: skip
def test_commands_print_no_field_that_is_not_documented(control: ScriptedControl, home: Path, words: str) -> None:
    cfab(home, "run", "-d", *RUN[1:])
    printed = cfab(home, *words.split(), "--json").json
    assert printed, "an empty answer would prove nothing"
    command = next(name for name in sorted(PRINTED, reverse=True) if words.startswith(name))
    assert undocumented(printed, PRINTED[command][0]) == []


def test_an_undocumented_field_would_be_found() -> None:
    assert undocumented_of({"type": "funded", "seq": 1, "amount": {"amount": "1", "nits": 1}, "new": 1}) == [
        "funded.new",
        "funded.amount.nits",
    ]


def _leaves(group: click.Group, words: tuple[str, ...]) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _leaves(command, (*words, name))
        else:
            yield " ".join((*words, name))
