"""The command line before any command runs: what it imports, what it offers, how it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from node.cli.root import COMMANDS, root
from tests.fakes.cli_runner import cfab

HEAVY = (
    "libp2p",
    "web3",
    "docker",
    "trio",
    "fastapi",
    "hypercorn",
    "pydantic",
    "rich",
    "ruamel",
    "msgspec",
    "eth_account",
)


@pytest.mark.parametrize(
    "words",
    [["--help"], ["version"], ["run", "--help"], ["ps", "--json"], ["no-such-command"], ["offers", "gpu=A100"],
     ["--light", "whatif", "--help"], ["--light", "ps"]],
)  # fmt: skip
def test_light_commands_import_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    code = (
        "import sys, node.cli\n"
        f"node.cli.main({words!r})\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    environment = {**os.environ, "CFAB_HOME": str(tmp_path)}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert shown.stdout.splitlines()[-1] == "LOADED []"


def test_help_lists_every_command_and_each_can_be_loaded() -> None:
    context = click.Context(root)
    shown = root.get_help(context)
    for section, commands in COMMANDS.items():
        assert f"{section}:" in shown
        for name, (_, text) in commands.items():
            command = root.get_command(context, name)
            assert command is not None
            assert command.name == name
            assert text in shown


@pytest.mark.parametrize("name", [name for section in COMMANDS.values() for name in section])
def test_every_command_explains_itself(tmp_path: Path, name: str) -> None:
    ended = cfab(tmp_path, name, "-h")
    assert ended.code == 0
    assert b"--json" in ended.out
    assert ended.err == ""


def test_options_for_all_commands_go_anywhere(tmp_path: Path) -> None:
    for words in (("--json", "ps"), ("ps", "--json")):
        assert cfab(tmp_path, *words).json["error"]["code"] == "node_not_running"
    other = tmp_path / "elsewhere"
    assert str(other) in cfab(tmp_path, "ps", "--home", str(other)).err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("rnu",), "cfab run"),
        (("ps", "--jsno"), "--json"),
        (("run", "python:3.12", "--lr", "3"), "goes after '--'"),
        (("ps", "extra"), "cfab ps --help"),
        (("ps", "-n", "0"), "range"),
        (("show",), "JOB"),
        (("receipts", "show"), "receipt"),
    ],
)
def test_wrong_usage_is_one_error_with_a_way_out(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    ended = cfab(tmp_path, *words)
    assert ended.code == 2
    assert says in ended.err
    assert ended.out == b""
    assert cfab(tmp_path, *words, "--json").json["error"]["code"] == "usage"


@pytest.mark.parametrize(
    "words",
    [("ps",), ("show", "-"), ("logs", "-"), ("cancel", "-"), ("offers",), ("receipts",), ("status",), ("down",)],
)
def test_without_a_node_everything_says_so_and_exits_10(tmp_path: Path, words: tuple[str, ...]) -> None:
    ended = cfab(tmp_path, *words)
    assert ended.code == 10
    assert "cfab up" in ended.err
    error = cfab(tmp_path, *words, "--json").json["error"]
    assert (error["code"], error["retryable"]) == ("node_not_running", True)


@pytest.mark.parametrize("words", [(), ("job",), ("provider",)])
def test_without_a_verb_the_help_is_shown(tmp_path: Path, words: tuple[str, ...]) -> None:
    ended = cfab(tmp_path, *words)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == cfab(tmp_path, *words, "--help").out


def test_home_too_deep_for_a_socket_is_told_as_such(tmp_path: Path) -> None:
    ended = cfab(tmp_path / ("deep" * 30), "ps")
    assert ended.code == 1
    assert "too long" in ended.err
    assert "--home" in ended.err


def test_commands_in_a_fix_name_the_home_they_are_meant_for(tmp_path: Path) -> None:
    other = tmp_path / "an other"
    assert f"'cfab up --home '{other}''" in cfab(tmp_path, "ps", "--home", str(other)).err
    assert f"fix: cfab wallet create --home '{other}'\n" in cfab(tmp_path, "wallet", "--home", str(other)).err
    assert f"cfab up --home {tmp_path}" in cfab(tmp_path, "ps", "--json").json["error"]["fix"]
    usual = cfab(tmp_path, "ps", environ={"CFAB_HOME": "", "XDG_DATA_HOME": "/nowhere"})
    assert "'cfab up'" in usual.err
    assert "see 'cfab ps --help'" in cfab(tmp_path, "ps", "extra").err


def test_mistake_of_ours_is_no_traceback_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("hunter2")

    monkeypatch.setattr("node.cli.version.current_session", broken)
    ended = cfab(tmp_path, "version")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "--debug" in ended.err
    assert "Traceback" in cfab(tmp_path, "version", "--debug").err


def test_reader_that_leaves_early_is_no_error_message(tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m node.cli --help | head -n 1; echo ${{PIPESTATUS[0]}}"
    shown = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    assert shown.stdout.startswith("Usage: cfab")
