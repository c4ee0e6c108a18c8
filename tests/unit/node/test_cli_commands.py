"""The commands that ask a running node, against a scripted one over a real socket."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from market.errors import InvalidRequest, Unavailable
from node.cli.client import NodeClient
from node.control import money
from tests.fakes.cli_runner import cfab, on_terminal
from tests.fakes.scripted_control import HOLD, JOB, LEASE, LEASED, OFFER, PROVIDER, ScriptedControl, served


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


@pytest.fixture
def submitted(control: ScriptedControl, home: Path) -> ScriptedControl:
    cfab(home, "run", "-d", "-t", "1m", "--max-price", "1/h", "image", "--", "x")
    return control


def test_ps_lists_jobs_and_nothing_is_an_empty_list(control: ScriptedControl, home: Path) -> None:
    assert cfab(home, "ps", "--json").json == []
    assert cfab(home, "ps").code == 0
    cfab(home, "run", "-d", "-t", "1m", "--max-price", "1/h", "image", "--", "x")
    shown = cfab(home, "ps").out.decode().splitlines()
    assert shown[0].split()[:3] == ["ID", "NAME", "STATE"]
    assert shown[1].split()[:3] == ["9c9c9c9c", "digits", "running"]


@pytest.mark.parametrize("reference", [JOB, "9c9c", "digits", "-"])
def test_job_is_found_by_id_start_name_or_dash(submitted: ScriptedControl, home: Path, reference: str) -> None:
    assert cfab(home, "show", reference, "--json").json["job"] == JOB


@pytest.mark.parametrize("reference", ["ffff", "nobody", "ab" * 16, "../status"])
def test_unknown_job_exits_4(submitted: ScriptedControl, home: Path, reference: str) -> None:
    assert cfab(home, "show", reference).code == 4
    assert cfab(home, "logs", reference).code == 4


def test_dash_without_jobs_says_so(control: ScriptedControl, home: Path) -> None:
    ended = cfab(home, "show", "-")
    assert ended.code == 4
    assert "no jobs yet" in ended.err


def test_show_prints_money_and_state_for_people(submitted: ScriptedControl, home: Path) -> None:
    shown = cfab(home, "show", "-").out.decode()
    assert "running" in shown
    assert "0.000084" in shown
    assert "0.3000/h" in shown
    assert "{" not in shown


def test_show_knows_the_risk_while_a_job_runs(submitted: ScriptedControl, home: Path) -> None:
    submitted.events = [*submitted.events[:6], HOLD]
    assert "at risk       0.002084 tokens at most" in cfab(home, "show", "-").out.decode()


def test_show_tells_of_outputs_that_were_lost(
    submitted: ScriptedControl, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = {"type": "outputs", "missing": ["/work/b"], "problems": ["/out/a is there already"]}
    settling = {"type": "paid", "sequence": 2, "gpu_ms": 1, "amount": money(1), "final": True}
    submitted.events = [LEASED, outputs, settling, HOLD]
    view = {"job": JOB, "state": "settling", "lease": LEASE}

    async def job(name: str) -> dict[str, str]:
        return view

    monkeypatch.setattr(submitted, "job", job)
    shown = cfab(home, "show", "-").out.decode()
    assert "missing       /work/b" in shown
    assert "problem       /out/a is there already" in shown


def test_ps_of_who_only_sells_points_to_what_it_sells(control: ScriptedControl, home: Path) -> None:
    ended = cfab(home, "ps", "-a")
    assert ended.code == 0
    assert "jobs are what this node buys" in ended.err
    assert "cfab provider status" in ended.err


def test_offer_without_a_card_has_no_gpu_memory(
    control: ScriptedControl, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OFFER, "vram_mib", 0)
    monkeypatch.setitem(OFFER, "memory_mib", 3815)
    header, row = cfab(home, "offers").out.decode().splitlines()
    assert row[header.index("VRAM") :].split()[0] == "-"
    assert row[header.index("MEMORY") :].split()[0] == "3.7GiB"
    assert "PRICE (tokens)" in header


def test_logs_are_the_output_and_nothing_else(submitted: ScriptedControl, home: Path) -> None:
    assert cfab(home, "logs", "-").out == b"epoch 1\nepoch 2\n"
    assert cfab(home, "logs", "-", "--offset", "8").out == b"epoch 2\n"
    pieces = cfab(home, "logs", "-", "--json").lines
    assert b"".join(base64.b64decode(piece["data"]) for piece in pieces) == b"epoch 1\nepoch 2\n"


def test_ctrl_c_on_logs_detaches(submitted: ScriptedControl, home: Path) -> None:
    submitted.output = [b"working\n", HOLD]
    with on_terminal(home, "logs", "-f", "-") as terminal:
        terminal.wait_for("working")
        terminal.type("\x03")
        code, seen = terminal.finish()
    assert code == 130
    assert b"cfab logs -f 9c9c9c9c" in seen
    assert submitted.calls == []


def test_cancel_stops_the_job_that_was_meant(submitted: ScriptedControl, home: Path) -> None:
    assert cfab(home, "cancel", "9c9c").code == 0
    assert submitted.calls == ["cancel"]


def test_offers_passes_filters_on(control: ScriptedControl, home: Path) -> None:
    shown = cfab(home, "offers", "-g", "RTX4090", "--min-vram", "24GB", "--max-price", "0.40/h", "--free", "--real")
    assert "RTX4090 (simulated)" in shown.out.decode()
    assert control.query == {
        "gpu": "RTX4090",
        "min_vram_mib": 24 * 10**9 // 2**20,
        "max_price": "0.40/h",
        "free": True,
        "simulated": False,
        "limit": 100,
    }
    assert cfab(home, "offers", "--json").json == [OFFER]


def test_text_of_a_peer_cannot_drive_the_terminal(
    control: ScriptedControl, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OFFER, "gpu", "\x1b[2JRTX\u202e\n4090")
    shown = cfab(home, "offers").out.decode()
    assert "\\x1b[2JRTX<U+202E>\\x0a4090" in shown
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 2


def test_receipts_are_listed_and_shown_with_their_transactions(submitted: ScriptedControl, home: Path) -> None:
    assert "settled" in cfab(home, "receipts").out.decode()
    for reference in ("5e5e", JOB, "-"):
        shown = cfab(home, "receipts", "show", reference).out.decode()
        assert "set aside 0.050000 tokens · paid 0.000084 · returned 0.049916" in shown
        assert "0x7171" in shown
    assert cfab(home, "receipts", "show", "5e", "--json").json["paid"]["units"] == 84
    assert cfab(home, "receipts", "show", "77").code == 4
    assert cfab(home, "receipts", "-", "--json").json[0]["job"] == JOB
    assert cfab(home, "receipts", "5e5e").out == cfab(home, "receipts", "show", "5e5e").out
    assert cfab(home, "receipts", "77").code == 4


def test_wallet_of_a_running_node_has_balance_and_lanes(control: ScriptedControl, home: Path) -> None:
    shown = cfab(home, "wallet").out.decode()
    assert "12.400000 tokens" in shown
    assert "gas       less than 0.000001 of the chain's coin" in shown
    assert "LANE TO" in shown
    assert cfab(home, "wallet", "--json").json["gas"] == "1000"
    assert cfab(home, "wallet", "--json").json == cfab(home, "wallet", "show", "--json").json
    assert cfab(home, "wallet", "exit", "0x03").code == 0
    assert control.calls == ["withdraw 0x03"]


def test_provider_is_paused_resumed_and_seen(control: ScriptedControl, home: Path) -> None:
    assert "paused" in cfab(home, "provider", "pause").out.decode()
    assert "offering" in cfab(home, "provider", "resume").out.decode()
    assert "1 of 2 slots busy" in cfab(home, "provider", "status").out.decode()
    assert control.calls == ["pause", "resume"]


def test_status_is_for_people_and_programs(control: ScriptedControl, home: Path) -> None:
    assert "alice" in cfab(home, "status").out.decode()
    assert cfab(home, "status", "--json").json["chain"]["head"] == 9


def test_a_node_that_stops_before_it_has_answered_has_stopped(
    control: ScriptedControl, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_args: object, **_named: object) -> None:
        raise Unavailable("the node stopped in the middle of its answer", code="node_stopped")

    monkeypatch.setattr(NodeClient, "post", cut_off)
    monkeypatch.setattr("node.cli.up._wait_end", lambda process: None)
    ended = cfab(home, "down")
    assert (ended.code, ended.err) == (0, "the node has stopped\n")
    assert cfab(home, "down", "--json").json == {"stopping": True, "stopped": True}


def test_down_asks_the_node_to_stop(control: ScriptedControl, home: Path) -> None:
    assert cfab(home, "down").code == 0
    asked = threading.Event()
    for _ in range(600):  # the node is asked after its answer is out
        if control.calls or asked.wait(0.05):
            break
    assert control.calls == ["shutdown"]


def test_doctor_adds_what_the_node_says_of_itself(control: ScriptedControl, home: Path) -> None:
    ended = cfab(home, "doctor", "--json")
    assert ended.code == 1
    names = [check["name"] for check in ended.json]
    assert names[-1] == "peers"
    assert "port" not in names, "a port in use is the running node's own"


def test_socket_named_by_the_config_is_used(home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "x.sock"
    (home / "config.toml").write_text(f'[node]\napi_socket = "{elsewhere}"\n')
    with served(ScriptedControl(), elsewhere):
        assert cfab(home, "status").code == 0


def test_refusal_without_a_code_of_its_own_exits_1(control: ScriptedControl, home: Path) -> None:
    control.fail["offers"] = InvalidRequest("no", code="something_new", fix="do that")
    ended = cfab(home, "offers")
    assert (ended.code, ended.err) == (1, "error: no\n  fix: do that\n")


def test_ids_are_whole_in_json_and_short_for_people(submitted: ScriptedControl, home: Path) -> None:
    assert cfab(home, "ps", "--json").json[0]["provider"] == PROVIDER
    assert PROVIDER not in cfab(home, "ps").out.decode()
