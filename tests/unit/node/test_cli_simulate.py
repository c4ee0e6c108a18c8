"""``cfab simulate``: no node, no home; same seed, same words; a picture that opens."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints
from xml.etree import ElementTree

import pytest

from node.cli.shapes import SimulatedMarket, SimulatedRun
from tests.fakes.cli_runner import cfab

SMALL = ("simulate", "--nodes", "60", "--bids", "120", "--per-epoch", "40", "--seed", "7")


def test_the_same_seed_says_the_same(tmp_path: Path) -> None:
    once, again = cfab(tmp_path, *SMALL), cfab(tmp_path, *SMALL)
    assert (once.code, once.out) == (0, again.out)
    assert once.out != cfab(tmp_path, *SMALL, "--seed", "8").out


def test_the_order_of_flags_says_nothing(tmp_path: Path) -> None:
    flags = (("--nodes", "30"), ("--bids", "40"), ("--load", "0.5"))
    forward = [word for flag in flags for word in flag]
    backward = [word for flag in reversed(flags) for word in flag]
    said = [cfab(tmp_path, "simulate", "--json", *words).out for words in (forward, backward)]
    assert said[0] == said[1]


def test_people_see_a_table_and_bars(tmp_path: Path) -> None:
    shown = cfab(tmp_path, *SMALL, "--rivals", "0.9").out.decode()
    header, alone, counting = shown.splitlines()[2:5]
    assert header.split("  ")[0] == "BIDS DECIDED"
    assert alone.startswith("each alone")
    assert counting.startswith("90% of rivals")
    assert "█" in shown


def test_json_is_what_the_reference_says(tmp_path: Path) -> None:
    said = cfab(tmp_path, *SMALL, "--json", "--rivals", "0.5", "--rivals", "1").json
    assert said.keys() == get_type_hints(SimulatedMarket).keys()
    assert (said["seed"], said["nodes"], said["bids"]) == (7, 60, 120)
    assert [run["rivals"] for run in said["runs"]] == [None, 0.5, 1.0]
    for run in said["runs"]:
        assert run.keys() == get_type_hints(SimulatedRun).keys()
        assert run["bids"] == 120


def test_the_picture_has_a_bar_for_every_run(tmp_path: Path) -> None:
    drawn = tmp_path / "market.svg"
    done = cfab(tmp_path, *SMALL, "--plot", str(drawn))
    assert done.code == 0
    assert str(drawn) in done.err
    words = [text.text for text in ElementTree.parse(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert words.count("each alone") == words.count("95% of rivals") == 3


def test_a_picture_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    done = cfab(tmp_path, *SMALL, "--plot", str(tmp_path / "nowhere" / "market.svg"))
    assert done.code == 2
    assert "nowhere" in done.err
    assert "machines, each alone" not in done.err


@pytest.mark.parametrize(
    "wrong", [("--nodes", "0"), ("--load", "1"), ("--rivals", "1.5"), ("--strategy", "best"), ("--bids", "x")]
)
def test_what_makes_no_sense_is_a_mistake_of_usage(tmp_path: Path, wrong: tuple[str, str]) -> None:
    assert cfab(tmp_path, *SMALL, *wrong).code == 2


def test_an_empty_market_has_an_account(tmp_path: Path) -> None:
    done = cfab(tmp_path, "simulate", "--nodes", "1", "--bids", "1", "--json")
    assert done.code == 0
    assert done.json["runs"][0]["bids"] == 1


@pytest.mark.parametrize("flag", ["--rivals", "--load"])
def test_what_is_no_number_is_refused_before_anything_is_played(tmp_path: Path, flag: str) -> None:
    ended = cfab(tmp_path, *SMALL, flag, "nan")
    assert (ended.code, ended.out) == (2, b"")
    assert f"'{flag}': 'nan' is not a number" in ended.err


def test_a_picture_that_is_there_is_not_drawn_over(tmp_path: Path) -> None:
    drawn = tmp_path / "market.svg"
    drawn.write_text("mine")
    refused = cfab(tmp_path, *SMALL, "--plot", str(drawn))
    assert (refused.code, drawn.read_text(), refused.out) == (2, "mine", b"")
    assert "--force" in refused.err
    assert cfab(tmp_path, *SMALL, "--plot", str(drawn), "--force").code == 0
    assert drawn.read_text().startswith("<svg")
