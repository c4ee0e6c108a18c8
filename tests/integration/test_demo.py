"""The demo for real: five nodes as processes, a chain, an engine, and one job that is sold, run, paid and checked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.demo_runs import demo_run, until

pytestmark = [pytest.mark.docker, pytest.mark.chain, pytest.mark.processes, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A market that was kept by the user of this machine is none of the tests' business."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize("chain", ["anvil", "embedded"])
def test_from_offers_to_a_settled_and_checked_receipt(chain: str):
    with demo_run(env={"CFAB_DEMO_CHAIN": chain}) as run:
        assert run.finish() == 0
        assert run.one("chain")["text"].startswith(chain)
        assert len(run.one("offers")["offers"]) == 3
        matching = run.one("matching")
        assert {item["rule"] for item in matching["rejected"]} == {"price", "simulated"}
        assert [item["machine"] for item in matching["candidates"]] == ["north"]
        told = [line["type"] for line in run.lines if "seq" in line]
        milestones = [
            "queued",
            "matching",
            "leased",
            "funded",
            "preparing",
            "running",
            "outputs",
            "settled",
            "succeeded",
        ]
        assert [kind for kind in told if kind in milestones] == milestones
        assert len(run.all("paid")) >= 4
        assert all(line["ok"] for line in run.all("check"))
        assert len(run.checks("receipt")) == 3
        receipt = run.one("receipt")["receipt"]
        assert receipt["deposited"]["units"] == receipt["paid"]["units"] + receipt["refunded"]["units"]
        assert receipt["paid"]["units"] > 0
        assert run.lines[-1]["type"] == "verdict"
        assert run.lines[-1]["ok"] is True
        assert run.alive() == []
        assert run.left_in_engine() == []
        assert not run.folder().exists()


def test_the_jobs_own_output_is_passed_on():
    command = [sys.executable, "-m", "node.cli", "demo"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=200, check=False)
    printed, talk = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 0, talk
    assert "epoch 36/36" in printed
    assert "voucher for" in talk
    assert printed.splitlines()[-1].startswith("✔ from offer to settled receipt")


def test_a_killed_provider_costs_nobody_money():
    with demo_run() as run:
        run.until_working()
        run.kill("north")
        assert run.finish() != 0
        assert [line["process"] for line in run.all("died")] == ["north"]
        assert run.all("failed")
        # The dead cannot redeem, so what it was promised went back with the rest, once the exit delay was over.
        assert run.checks("chain: deposited 0.050000 = paid 0.000000 + refunded 0.050000") == [True]
        assert run.checks("wallets") == [True, True]
        assert run.checks("clean: had to remove") == [False]
        assert run.alive() == []
        assert run.left_in_engine() == []
        assert "north was ended by SIGKILL; the job failed" in run.lines[-1]["text"]


def test_a_killed_requester_still_pays_what_it_promised():
    with demo_run() as run:
        run.until_working()
        run.kill("requester")
        assert run.finish() != 0
        promised = max(line["amount"]["units"] for line in run.all("paid"))
        assert run.checks(f"chain: deposited 0.050000 = paid 0.{promised:06d} + refunded 0.000000") == [True]
        assert run.checks("wallets") == [True, True]
        assert len(run.checks(f"chain: 0.{50000 - promised:06d} is still held")) == 1
        assert run.alive() == []
        assert run.left_in_engine() == []


def test_a_killed_introducer_does_not_stop_a_job():
    with demo_run() as run:
        run.until_working()
        run.kill("introducer")
        assert run.finish() != 0
        assert run.all("succeeded")
        assert run.checks("chain: deposited") == [True]
        assert run.checks("clean") == [True, True]
        assert "introducer was ended by SIGKILL; the job succeeded" in run.lines[-1]["text"]


def test_a_killed_chain_leaves_signed_promises():
    with demo_run() as run:
        run.until_working()
        run.kill("chain")
        assert run.finish() != 0
        assert [line["process"] for line in run.all("died")] == ["chain"], "a node must outlive its chain"
        assert run.checks("chain: it is gone") == [False]
        assert run.checks("promises: the provider holds a signed voucher") == [True]
        assert run.alive() == []
        assert run.left_in_engine() == []


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(sign: signal.Signals):
    with demo_run() as run:
        run.until_working()
        run.process.send_signal(sign)
        assert run.finish() == 130
        assert run.lines[-1]["text"].startswith("interrupted")
        assert run.alive() == []
        assert run.left_in_engine() == []
        assert not run.folder().exists()


def test_the_market_does_not_survive_a_killed_demo():
    with demo_run() as run:
        run.until_working()
        run.process.kill()
        until(lambda: run.alive() == [])


def test_a_demo_without_an_engine_says_only_that(tmp_path: Path):
    url = f"unix://{tmp_path}/absent.sock"
    with demo_run(env={"DOCKER_HOST": url}) as run:
        assert run.finish() != 0
        assert [line["type"] for line in run.lines] == ["verdict"]
        assert run.one("verdict")["text"] == f"the container engine at {url} does not answer"


def test_a_kept_market_can_be_used_and_stopped(tmp_path: Path):
    with demo_run("--keep") as run:
        try:
            assert run.finish() == 0
            kept = run.one("kept")
            assert len(run.alive()) == 6
            (receipt,) = cfab("receipts", "--json", home=kept["home"])
            assert receipt["settled"] is True
            assert receipt["deposited"]["units"] == receipt["paid"]["units"] + receipt["refunded"]["units"]
            assert {item["purpose"] for item in receipt["transactions"]} == {"deposit", "close"}
            (job,) = cfab("ps", "-a", "--json", home=kept["home"])
            assert job["state"] == "succeeded"
            check_receipts(receipt, kept["home"], tmp_path)
            join_and_buy(run.folder(), tmp_path / "newcomer")
            with demo_run("--keep") as second:
                assert second.process.wait(60) != 0, "a second one may not be kept"
        finally:
            stopped = cfab("demo", "--stop", "--json", home="")
        assert stopped == {"stopped": str(run.folder())}
        assert run.alive() == []
        assert run.left_in_engine() == []
        assert not run.folder().exists()


def check_receipts(receipt: dict[str, Any], home: str, folder: Path) -> None:
    """A job's receipts are verified against the real chain, exported, and verified again without a node."""
    units = receipt["amount"]["units"]
    live = cfab("receipts", "verify", receipt["job"], "--json", home=home)
    assert (live["valid"], live["chain"]) == (True, "checked")
    assert {check["result"] for check in live["checks"]} == {"pass"}
    steps = cfab("receipts", "show", receipt["receipt"], "--json", home=home)["lines"]
    assert sum(line["amount_units"] for line in steps) == units
    file = folder / "receipts.json"
    assert cfab("receipts", "export", "-o", str(file), "--json", home=home)["amount_units"] == units
    events = cfab("receipts", "export", "--format", "cloudevents", "--json", home=home)
    assert sum(event["data"]["amount_units"] for event in events) == units
    nowhere = str(folder / "nowhere")
    assert cfab("receipts", "verify", str(file), "--json", home=nowhere)["chain"] == "offline"
    file.write_bytes(file.read_bytes().replace(b'"final": true', b'"final":true ', 1))
    with pytest.raises(subprocess.CalledProcessError):
        cfab_process("receipts", "verify", str(file), home=nowhere)


def join_and_buy(market: Path, home: Path) -> None:
    """A newcomer follows what ``--keep`` printed: config, wallet, test money, a node, a job."""
    home.mkdir(mode=0o700)
    shutil.copy(market / "join.toml", home / "config.toml")
    password = home / "password"
    password.touch(mode=0o600)
    password.write_text("mine alone\n")
    account = cfab("wallet", "create", "--password-file", str(password), "--json", home=str(home))["account"]
    assert cfab("demo", "--fund", account, "--json", home=str(home))["tokens"]["amount"] == "100.000000"
    command = [sys.executable, "-m", "node.cli", "up", "--home", str(home), "--password-file", str(password)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as node:
        try:
            until(lambda: (home / "api.sock").exists())
            until(lambda: len(cfab("offers", "--json", home=str(home))) == 3)
            spec = ("-t", "1m", "--max-price", "0.50/h", "cfab-job-base:local", "--", "python3", "-c", "print(6*7)")
            assert cfab_process("run", "-q", *spec, home=str(home)).stdout == "42\n"
            (receipt,) = cfab("receipts", "--json", home=str(home))
            assert receipt["settled"] is True
        finally:
            node.terminate()


def cfab(*words: str, home: str) -> Any:
    """What a user in a second terminal gets, as JSON."""
    return json.loads(cfab_process(*words, home=home).stdout)


def cfab_process(*words: str, home: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "node.cli", *words]
    env = {**os.environ, "CFAB_HOME": home}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=True)
