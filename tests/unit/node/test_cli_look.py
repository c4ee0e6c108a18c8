"""The commands that look at the market, against a scripted node over a real socket."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from market.errors import InvalidRequest
from node.control import price_view
from node.job_file.facts import job_facts
from node.job_file.request import JobRequest
from node.light_plan import light_plan
from node.offer_fields import FIELDS
from node.offer_query import Term, parse_query
from node.what_if_shapes import WhatIfView
from tests.fakes.cli_runner import cfab
from tests.fakes.samples import NOW, SELLER, offered_by
from tests.fakes.scripted_control import ScriptedControl, served


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


def returns(monkeypatch: pytest.MonkeyPatch, control: ScriptedControl, verb: str, answer: Any) -> None:
    async def verb_(*_args: Any) -> Any:
        return answer

    monkeypatch.setattr(control, verb, verb_)


@pytest.mark.parametrize("words", [("gpu=A100 vram>=24GB",), ("gpu=A100", "vram>=24GB")])
def test_a_query_is_one_text_however_it_is_quoted(control: ScriptedControl, home: Path, words: tuple[str, ...]) -> None:
    assert cfab(home, "offers", *words, "-o", "price,-reputation").code == 0
    assert control.query == {"where": "gpu=A100 vram>=24GB", "order": "price,-reputation", "limit": 100}


def test_a_mistake_in_a_query_names_its_column_and_exits_2(control: ScriptedControl, home: Path) -> None:
    control.fail["offers"] = InvalidRequest(
        "unknown field 'vrma'", code="bad_query", fix="did you mean 'vram'?", where="query, column 1"
    )
    ended = cfab(home, "offers", "vrma>=24GB")
    assert (ended.code, ended.err) == (
        2,
        "error: query, column 1: unknown field 'vrma'\n  fix: did you mean 'vram'?\n",
    )
    assert cfab(home, "offers", "vrma>=24GB", "--json").json["error"]["where"] == "query, column 1"


def test_depth_is_asked_for_by_either_name(control: ScriptedControl, home: Path) -> None:
    assert "RTX4090 (simulated): 1 free at 1 provider" in cfab(home, "depth", "RTX4090", "region=eu").out.decode()
    assert control.query == {"gpu": "RTX4090", "where": "region=eu"}
    cfab(home, "depth", "region=eu", "free>1")
    assert control.query == {"where": "region=eu free>1"}
    cfab(home, "offers", "--depth", "-g", "RTX4090")
    assert control.query == {"gpu": "RTX4090"}


def test_depth_draws_what_adds_up(control: ScriptedControl, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = [
        {"price": price_view(number * 1000), "slots": 1, "cumulative": number, "providers": number}
        for number in range(1, 101)
    ]
    returns(
        monkeypatch,
        control,
        "depth",
        [{"gpu": "A\x1b[2J", "simulated": False, "slots": 100, "providers": 9, "levels": levels}],
    )
    head, *rows = cfab(home, "depth").out.decode().splitlines()
    assert head == "A\\x1b[2J: 100 free at 9 providers"
    assert len(rows) == 12
    bars = [row.count("#") for row in rows]
    assert bars == sorted(bars)
    assert bars[-1] == 40
    assert rows[0].split()[0] == "0.0036/h"
    assert rows[-1].split()[2:4] == ["100", "100"]


def test_history_chooses_lines_that_fit(control: ScriptedControl, home: Path) -> None:
    shown = cfab(home, "history", "RTX4090").out.decode().splitlines()
    assert shown[0].split()[:3] == ["UTC", "GPU", "LOWEST"]
    assert shown[1].split()[2:6] == ["RTX4090", "0.3600/h", "0.3600/h", "0.3600/h"]
    assert control.query == {"gpu": "RTX4090", "over_ms": 86_400_000, "step_ms": 3_600_000}
    cfab(home, "history", "--over", "3h")
    assert control.query == {"gpu": "", "over_ms": 10_800_000, "step_ms": 600_000}
    cfab(home, "history", "--over", "14d", "--step", "12h")
    assert control.query["step_ms"] == 43_200_000
    ended = cfab(home, "history", "--over", "long")
    assert ended.code == 2
    assert "30m" in ended.err


def test_bids_show_needs_and_no_price(control: ScriptedControl, home: Path) -> None:
    header, row = cfab(home, "bids").out.decode().splitlines()
    assert header.split() == ["REQUESTER", "BID", "GPU", "SLOTS", "VRAM", "WHERE", "STRATEGY"]
    assert row.split()[2:] == ["any", "1", "any", "any", "lowest_cost"]


@pytest.mark.parametrize(("command", "says"), [("offers", "no live offer"), ("depth", "nothing is free"),
                                               ("history", "no prices"), ("bids", "no live bids")])  # fmt: skip
def test_nothing_is_an_empty_list_and_a_word(
    control: ScriptedControl, home: Path, monkeypatch: pytest.MonkeyPatch, command: str, says: str
) -> None:
    returns(monkeypatch, control, command, [])
    ended = cfab(home, command)
    assert (ended.code, ended.out) == (0, b"")
    assert says in ended.err
    assert cfab(home, command, "--json").json == []


def plans(monkeypatch: pytest.MonkeyPatch, control: ScriptedControl, **offer: Any) -> list[JobRequest]:
    """Let the node plan by one offer; returns the requests it gets."""
    asked: list[JobRequest] = []

    async def plan(request: Any) -> Any:
        asked.append(JobRequest.from_json(request))
        offers = [offered_by(SELLER, **offer)]
        return light_plan(asked[-1], job_facts(asked[-1], asked[-1].spec), offers, {}, now=NOW)

    monkeypatch.setattr(control, "plan", plan, raising=False)
    return asked


def test_whatif_is_one_answer(control: ScriptedControl, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = plans(monkeypatch, control)
    ended = cfab(home, "whatif", "-g", "RTX4090", "-t", "30m", "--max-price", "0.5/h")
    assert ended.code == 0
    first, best, cost, start = ended.out.decode().splitlines()
    assert first == "this job now: 1 match, 0.183600 tokens, start ≈ 3.5 s"
    assert "NVIDIA GeForce RTX 4090  0.3600/h  at most 0.180000 tokens" in best
    assert cost.split()[:5] == ["cost", "compute", "0.180000", "+", "image"]
    assert start == "  start  funding 2.0 s + container 1.5 s + image 0.0 s + inputs 0.0 s"
    assert asked[0].spec.max_duration_ms == 1_800_000
    view = cfab(home, "whatif", "-g", "RTX4090", "--json").json
    assert set(view) == set(get_type_hints(WhatIfView))
    assert view["matches"] == 1


def test_whatif_reads_a_job_file_too(control: ScriptedControl, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = plans(monkeypatch, control)
    text = "image: cfab-job-base:local\ncommand: x\nmax_price: 0.5/h\nmax_duration: 2h\nresources: {gpu: RTX4090}\n"
    (home / "job.yaml").write_text(text)
    assert cfab(home, "whatif", str(home / "job.yaml"), "-t", "1h").code == 0
    assert cfab(home, "whatif", "-", stdin=text.encode()).code == 0
    assert [one.spec.max_duration_ms for one in asked] == [3_600_000, 7_200_000]
    assert cfab(home, "whatif", str(home / "none.yaml")).code == 4


def test_whatif_says_why_nothing_fits_and_exits_5(
    control: ScriptedControl, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans(monkeypatch, control, gpu="A100")
    ended = cfab(home, "whatif", "-g", "RTX4090")
    assert ended.code == 5
    first, header, rule, closest = ended.out.decode().splitlines()
    assert first == "this job now: none of 1 offers fits"
    assert header.split("  ")[1:] == ["RULE", "FAIL IT", "FAIL ONLY IT"]
    assert rule.split() == ["gpu", "1", "1"]
    assert closest == "  closest: --gpu RTX4090,A100  (1 would match)"
    assert cfab(home, "whatif", *closest.split()[1:3]).code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("history", "--over", "long"), "--over: 'long' is not a duration"),
        (("history", "--over", "15d"), "--over: '15d' is out of range"),
        (("history", "--over", "1m"), "--over: '1m' is out of range"),
        (("history", "--step", "9m"), "--step: '9m' is out of range"),
        (("history", "--step", "25h"), "--step: '25h' is out of range"),
        (("offers", "--max-price", "0.25"), "--max-price: '0.25' is not a price per hour"),
        (("offers", "--min-vram", "x:y:z"), "--min-vram: "),
        (("depth", "--join", "/ip4/127.0.0.1/tcp/9"), "--join names a peer for --light"),
        (("whatif", "--cpu", "1", "--join", "/ip4/127.0.0.1/tcp/9"), "--join names a peer for --light"),
    ],
)
def test_what_is_typed_wrong_is_told_by_its_flag_and_asked_of_nobody(
    control: ScriptedControl, home: Path, words: tuple[str, ...], says: str
) -> None:
    ended = cfab(home, *words)
    assert (ended.code, ended.out) == (2, b"")
    assert says in ended.err
    assert "fix: " in ended.err
    assert not hasattr(control, "query") or not control.query


@pytest.mark.parametrize("words", [("--light", "run", "x"), ("--light", "ps"), ("--light", "wallet", "show")])
def test_what_needs_a_node_says_so_with_light(home: Path, words: tuple[str, ...]) -> None:
    ended = cfab(home, *words)
    assert ended.code == 2
    assert "needs a node of your own" in ended.err
    assert "offers, depth, whatif, history, bids" in ended.err


def test_the_help_names_every_field_with_a_value_that_can_be_typed(home: Path) -> None:
    shown = cfab(home, "offers", "--help").out.decode()
    said = {term.field for line in shown.splitlines() for term in _terms(line)}
    assert said == set(FIELDS)
    assert "notice>=10m" in shown


def _terms(line: str) -> Iterator[Term]:
    for word in re.sub(r"\(.*?\)", "", line).split():
        if re.fullmatch(r"[a-z]+(=|>=|<=)[^,='|\[\]<>]+", word):
            yield from parse_query(word).terms


def test_sizes_stand_in_one_unit(control: ScriptedControl, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(24_564, 61_036), (0, 500), (15_360, 16_384)]
    rows = [{"gpu": "x", "vram_mib": vram, "memory_mib": memory} for vram, memory in sizes]
    returns(monkeypatch, control, "offers", rows)
    header, *lines = cfab(home, "offers").out.decode().splitlines()
    vram, memory = header.index("VRAM"), header.index("MEMORY")
    assert [(line[vram:].split()[0], line[memory:].split()[0]) for line in lines] == [
        ("24GiB", "60GiB"),
        ("-", "0.49GiB"),
        ("15GiB", "16GiB"),
    ]
