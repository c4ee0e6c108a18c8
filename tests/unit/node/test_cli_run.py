"""``cfab run`` and ``submit`` against a scripted node over a real socket: what is shown, and what code comes back."""

from __future__ import annotations

import base64
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from market.errors import InvalidRequest
from node.cli.run import run, submit
from node.job_file.schema import KEYS, PROVIDERS, RESOURCES, Key
from tests.fakes.cli_runner import cfab, on_terminal
from tests.fakes.scripted_control import HOLD, JOB, ScriptedControl, no_match, program_failure, served, success

RUN = ("run", "-t", "10m", "--max-price", "0.40/h", "python:3.12", "--", "python", "train.py", "--json", "-h")


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


def test_run_shows_the_story_on_stderr_and_only_the_jobs_output_on_stdout(control: ScriptedControl, home: Path) -> None:
    ended = cfab(home, *RUN)
    assert ended.code == 0
    assert ended.out == b"epoch 1\nepoch 2\n"
    for piece in ("5 offers", "4 too dear", "matched", "funded", "running", "outputs", "1 file, 1.2 kB", "settled"):
        assert piece in ended.err, piece
    assert "paid 0.000084, returned 0.049916 of 0.050000 tokens set aside" in ended.err
    assert "\x1b" not in ended.err


def test_words_after_the_dashes_belong_to_the_program(control: ScriptedControl, home: Path) -> None:
    cfab(home, *RUN)
    assert control.submitted[0].spec.command == ("python", "train.py", "--json", "-h")


def test_flags_become_the_request(control: ScriptedControl, home: Path, tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_text("1,2")
    cfab(
        home, "run", "-g", "A100,H100:2", "--cpu", "8", "--memory", "32GiB", "-e", "EPOCHS=10", "-e", "EMPTY=",
        "-i", f"{source}:/work/d.csv", "-o", f"/work/out:{tmp_path}/out", "-t", "1h", "--max-price", "1.00/h",
        "--max-total", "1.50", "--region", "eu", "--min-reputation", "0.9", "--simulated", "--name", "big",
        "--wait", "10m", "image:1", "--", "x",
    )  # fmt: skip
    request = control.submitted[0]
    needs = request.spec.requirements
    assert (needs.gpus, needs.slots) == (("A100", "H100"), 2)
    assert (needs.cpu_milli, needs.memory_mib) == (4000, 16 * 1024), "amounts are for the job, shared by its slots"
    assert (needs.regions, needs.min_reputation, needs.allow_simulated) == (("eu",), 900, True)
    assert request.spec.env == {"EPOCHS": "10", "EMPTY": ""}
    assert request.inputs[0].source == str(source)
    assert request.outputs[0].destination == f"{tmp_path}/out"
    assert (request.max_price, request.max_total, request.name) == (277_777, 1_500_000, "big")
    assert request.wait_ms == 600_000


def test_every_flag_of_a_key_becomes_its_part_of_the_request(control: ScriptedControl, home: Path) -> None:
    cfab(
        home, "run", "-t", "10m", "--max-price", "1/h", "-g", "A100", "--cuda", "12.4", "--driver", "535.104",
        "--runtime", "gvisor", "--jurisdiction", "eu", "--jurisdiction", "CH", "--max-rtt", "40ms", "--interruptible",
        "--min-notice", "2m", "--strategy", "custom", "--weights", "cost=60,speed=20,latency=5",
        "--expected-duration", "5m@H100", "--image-size", "1GiB", "--waiting-cost", "0.36/h", "--quotes", "image:1",
    )  # fmt: skip
    request = control.submitted[0]
    needs = request.spec.requirements
    assert (needs.cuda_milli, needs.driver, needs.runtime) == (12_400, "535.104", "runsc")
    assert (needs.jurisdictions, needs.interruptible, needs.min_notice_ms) == (("eu", "ch"), True, 120_000)
    assert (request.strategy, request.weights, request.max_rtt_us) == ("custom", (60, 20, 0, 5), 40_000)
    assert (request.work_ms, request.image_mib, request.waiting) == (300_000, 1024, 100_000)
    assert request.quotes


def test_every_key_with_a_flag_has_that_flag() -> None:
    keys = {**KEYS, **RESOURCES, **PROVIDERS}
    wanted = {key.flag for key in keys.values() if isinstance(key, Key) and key.flag}
    for command in (run, submit):
        assert wanted <= {name for parameter in command.params for name in parameter.opts}
    assert {leaf for leaf, key in keys.items() if isinstance(key, Key) and not key.flag} == {
        "version", "image", "command", "network",
    }  # fmt: skip


def test_run_returns_the_programs_own_code(control: ScriptedControl, home: Path) -> None:
    control.events = program_failure(7)
    ended = cfab(home, *RUN)
    assert ended.code == 7
    assert "ended with code 7" in ended.err


@pytest.mark.parametrize("lost", [{"missing": ["/work/out"]}, {"problems": ["/out/a is there already", "kept in /x"]}])
@pytest.mark.parametrize("command", ["run", "submit"])
def test_outputs_that_are_not_where_they_belong_end_in_code_1(
    control: ScriptedControl, home: Path, tmp_path: Path, command: str, lost: dict[str, Any]
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("image: a\ncommand: x\nmax_price: 1/h\nmax_duration: 1m\n")
    control.events = [{**event, **lost} if event["type"] == "outputs" else event for event in success()]
    ended = cfab(home, *(RUN if command == "run" else ("submit", str(job))))
    assert ended.code == 1
    told = [line.removeprefix("! outputs   ") for line in ended.err.splitlines() if line.startswith("! outputs   ")]
    assert told == [f"nothing at {path}" for path in lost.get("missing", [])] + lost.get("problems", [])
    assert "not all where they were wanted" in ended.err


def test_code_of_the_program_wins_over_lost_outputs(control: ScriptedControl, home: Path) -> None:
    control.events = [{"type": "outputs", "missing": ["/work/out"]}, *program_failure(7)]
    assert cfab(home, *RUN).code == 7


def test_place_for_outputs_that_cannot_be_made_is_found_before_anything_is_bought(
    control: ScriptedControl, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "out", Path("/proc/nowhere/out")):
        ended = cfab(home, "run", "-o", f"/work/out:{place}", *RUN[1:])
        assert ended.code == 2
        assert f"'{place}' cannot be written to" in ended.err
    assert control.submitted == []
    assert cfab(home, "run", "-o", f"/work/out:{tmp_path}/new/out", *RUN[1:]).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "home"], "looking leaves nothing"


def test_run_returns_125_when_nobody_takes_the_job_and_says_what_would_match(
    control: ScriptedControl, home: Path
) -> None:
    control.events = no_match()
    ended = cfab(home, *RUN)
    assert ended.code == 125
    assert "closest: --max-price 0.7200/h" in ended.err
    (command,) = [line for line in ended.err.splitlines() if "cfab run" in line]
    assert command.split() == [
        "cfab", "run", "--max-duration", "10m", "--max-price", "0.7200/h", "python:3.12", "--", "python", "train.py",
        "--json", "-h",
    ]  # fmt: skip
    assert "fix: the command above matches now" in ended.err
    assert ended.out == b""


@pytest.mark.parametrize("code", ["insufficient_funds", "gas_short", "tokens_short", "spending_limit"])
def test_run_returns_6_when_the_wallet_holds_too_little_and_shows_no_receipts(
    control: ScriptedControl, home: Path, code: str
) -> None:
    failed = {"type": "failed", "code": code, "message": "2 are needed, 1 is there", "fix": "send tokens"}
    control.events = [{"type": "queued"}, success()[1], failed]
    ended = cfab(home, *RUN)
    assert ended.code == 6
    assert ended.err.count("2 are needed, 1 is there") == ended.err.count("fix: send tokens") == 1
    assert "cfab receipts" not in ended.err


def test_a_job_with_a_lease_says_where_its_receipts_are(control: ScriptedControl, home: Path) -> None:
    control.events = [*success()[:-1], {"type": "failed", "code": "lost", "message": "the provider was lost"}]
    ended = cfab(home, *RUN)
    assert (ended.code, "cfab receipts" in ended.err) == (125, True)


def test_what_would_match_is_the_command_that_was_typed_with_its_file_and_switches(
    control: ScriptedControl, home: Path, tmp_path: Path
) -> None:
    control.events = no_match()
    job = tmp_path / "my job.yaml"
    job.write_text("image: a\ncommand: x\nmax_price: 0.1/h\nmax_duration: 1m\n")
    ended = cfab(home, "submit", str(job), "--ticks", "--name", "other", "--home", str(home))
    (command,) = [line.strip() for line in ended.err.splitlines() if "cfab submit" in line]
    words = ["cfab", "submit", str(job), "--name", "other", "--max-price", "0.7200/h", "--ticks", "--home", str(home)]
    assert shlex.split(command) == words


def test_submit_tells_causes_apart_by_exit_code(control: ScriptedControl, home: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("image: a\ncommand: x\nmax_price: 1/h\nmax_duration: 1m\n")
    lost = {"type": "failed", "code": "lost", "message": "the provider was lost", "fix": ""}
    for script, code in ((success(), 0), (program_failure(7), 1), (no_match(), 5), ([lost], 9)):
        control.events = script
        assert cfab(home, "submit", str(job)).code == code, script[-1]


def test_json_is_one_object_per_line_and_holds_the_output_too(control: ScriptedControl, home: Path) -> None:
    ended = cfab(home, "run", "--json", *RUN[1:])
    assert ended.err == ""
    kinds = [line["type"] for line in ended.lines]
    assert kinds[0] == "queued"
    assert kinds[-1] == "succeeded"
    output = b"".join(base64.b64decode(line["data"]) for line in ended.lines if line["type"] == "log")
    assert output == b"epoch 1\nepoch 2\n"
    assert [line["seq"] for line in ended.lines if "seq" in line] == list(range(1, len(success()) + 1))


def test_output_goes_into_a_pipe_byte_for_byte(control: ScriptedControl, home: Path) -> None:
    control.output = [b"\xff\x00\x1b[31mred", b"\r\n"]
    assert cfab(home, *RUN).out == b"\xff\x00\x1b[31mred\r\n"


def test_quiet_keeps_the_output_and_drops_the_talk(control: ScriptedControl, home: Path) -> None:
    ended = cfab(home, "-q", *RUN)
    assert (ended.code, ended.out, ended.err) == (0, b"epoch 1\nepoch 2\n", "")


def test_detach_prints_the_id_and_leaves(control: ScriptedControl, home: Path) -> None:
    control.events = [HOLD]
    ended = cfab(home, "run", "-d", *RUN[1:])
    assert (ended.code, ended.out) == (0, JOB.encode() + b"\n")
    assert cfab(home, "run", "-d", "--json", *RUN[1:]).json == {"job": JOB}


def test_bad_flags_are_usage_and_all_told_at_once(control: ScriptedControl, home: Path) -> None:
    ended = cfab(
        home, "run", "--memory", "32", "-e", "HF_TOKEN=hf_0123456789abcdefgh", "-t", "1 hour", "image", "--", "x"
    )
    assert ended.code == 2
    for flag in ("--memory", "--env", "--max-duration", "--max-price"):
        assert flag in ended.err, flag
    assert "hf_0123456789abcdefgh" not in ended.err
    assert control.submitted == []


def test_refusal_of_the_node_becomes_its_exit_code(control: ScriptedControl, home: Path) -> None:
    control.fail["submit"] = InvalidRequest("too little", code="insufficient_funds", fix="add tokens")
    ended = cfab(home, *RUN)
    assert ended.code == 6
    assert ended.err == "error: too little\n  fix: add tokens\n"
    assert cfab(home, "run", "--json", *RUN[1:]).json["error"]["code"] == "insufficient_funds"


def test_node_that_stops_in_the_middle_is_no_success(home: Path) -> None:
    node = ScriptedControl([{"type": "queued"}, HOLD])
    box: list[Any] = []
    with served(node, home / "api.sock"):
        follower = threading.Thread(target=lambda: box.append(cfab_in_thread(home)))
        follower.start()
        wait_until_streaming(node)
    follower.join(30)
    assert box[0][0] == 10
    assert b"node stopped" in box[0][1]


def test_terminal_gets_no_escape_sequence_from_a_job(control: ScriptedControl, home: Path) -> None:
    control.output = [b"\x1b]0;owned\x07\x1b[2J", "\u202eevil\n".encode()]
    with on_terminal(home, *RUN) as terminal:
        code, seen = terminal.finish()
    assert code == 0
    assert b"\\x1b]0;owned\\x07\\x1b[2J<U+202E>evil" in seen
    assert b"\x1b]0" not in seen
    assert b"\x1b[2J" not in seen


def test_ctrl_c_detaches_and_says_how_to_return(control: ScriptedControl, home: Path) -> None:
    control.events = [*success()[:6], HOLD]
    control.output = [b"working\n", HOLD]
    with on_terminal(home, *RUN) as terminal:
        terminal.wait_for("working")
        terminal.type("\x03")
        code, seen = terminal.finish()
    assert code == 130
    assert b"cfab logs -f 9c9c9c9c" in seen
    assert b"Traceback" not in seen
    assert control.calls == [], "leaving is not cancelling"


def test_terminal_shows_what_is_awaited_with_a_moving_time(control: ScriptedControl, home: Path) -> None:
    control.events = [{"type": "queued"}, HOLD, *success()[1:]]
    with on_terminal(home, *RUN) as terminal:
        terminal.wait_for("looking at offers  0.5 s")
        control.release()
        code, _ = terminal.finish()
    assert code == 0


def cfab_in_thread(home: Path) -> tuple[int, bytes]:
    """A process of its own: redirected streams belong to the whole process and cannot be shared with a thread."""
    with on_terminal(home, *RUN) as terminal:
        return terminal.finish()


def wait_until_streaming(node: ScriptedControl) -> None:
    deadline = threading.Event()
    for _ in range(600):
        if node.streams_open:
            return
        deadline.wait(0.05)
    raise AssertionError("nobody followed the job")
