"""The note about a devnet that was left up. No node runs here: a sleeping program stands for one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from market.errors import InvalidRequest, Unavailable
from node.devnet import kept
from node.devnet.kept import Kept, note_path, recall, remember, stop_kept
from node.devnet.processes import Processes, Ticket, is_alive


@pytest.fixture(autouse=True)
def retired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Path]]:
    """What the sweep of the engine was asked to remove; the sweep itself is tested where there is an engine."""
    asked: list[dict[str, Path]] = []
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(kept, "retire_nodes", asked.append)
    return asked


@pytest.fixture
def running(tmp_path: Path):
    folder = tmp_path / "market"
    folder.mkdir()
    processes = Processes(folder, outlive=False)
    processes.start("north", [sys.executable, "-c", "import time; time.sleep(600)"])
    yield Kept(folder=str(folder), tickets=processes.tickets(), homes={"aa": str(folder / "north")})
    processes.stop(["north"], grace_s=0.1)


def test_nothing_is_up_at_first():
    assert recall() is None
    with pytest.raises(InvalidRequest, match="no market of"):
        stop_kept()


def test_what_was_left_up_is_found_again(running: Kept):
    remember(running)
    assert recall() == running


def test_stopping_ends_the_processes_and_leaves_nothing(running: Kept, retired: list[dict[str, Path]]):
    remember(running)
    assert stop_kept() == running
    assert not is_alive(running.tickets["north"])
    assert not Path(running.folder).exists()
    assert not note_path().exists()
    assert retired == [{"aa": Path(running.folder) / "north"}]


def test_a_node_started_again_in_the_market_is_named_and_nothing_is_claimed(
    running: Kept, retired: list[dict[str, Path]]
):
    remember(running)
    home = running.homes["aa"]
    with subprocess.Popen([sys.executable, "-c", "input()", "--home", home], stdin=subprocess.PIPE) as again:
        with pytest.raises(Unavailable) as left:
            stop_kept()
        assert left.value.code == "devnet_left"
        assert f"kill {again.pid}," in left.value.fix
        assert not is_alive(running.tickets["north"])
        assert Path(running.folder).exists()
        assert recall() == running, "so that --stop can be asked again"
        assert again.stdin is not None
        again.stdin.close()
        again.wait(10)
    assert stop_kept() == running
    assert not Path(running.folder).exists()


def test_a_note_whose_processes_are_gone_counts_as_none(tmp_path: Path):
    remember(Kept(folder=str(tmp_path), tickets={"north": Ticket(1, 123456789)}, homes={}))
    assert recall() is None


def test_a_damaged_note_counts_as_none():
    note_path().parent.mkdir(parents=True)
    note_path().write_text("{")
    assert recall() is None
