"""What is said to people and what to programs."""

from __future__ import annotations

import json

import pytest

from node.cli.options import Session
from node.control import money, price_view
from node.devnet.checks import Finding
from node.devnet.narrator import Narrator

OFFER = {
    "provider": "ab" * 32,
    "machine": "north\x1b[2J",
    "gpu": "RTX4090",
    "simulated": True,
    "cpu_milli": 1500,
    "memory_mib": 2048,
    "region": "eu",
    "price": price_view(83_334),
}
RECEIPT = {
    "receipt": "cd" * 32,
    "lease": "ef" * 16,
    "machine": "north",
    "gpu_ms": 9519,
    "price": price_view(83_334),
    "amount": money(794),
    "paid": money(794),
    "refunded": money(49_207),
    "deposited": money(50_001),
    "transactions": [{"purpose": "deposit", "hash": "0x12", "block": 17}],
}


def tell_all(narrator: Narrator) -> None:
    narrator.step("offers", "1 seen", seconds=1.5, offers=[OFFER])
    narrator.offers([OFFER])
    narrator.receipt(RECEIPT)
    narrator.findings([Finding(True, "good"), Finding(False, "bad")])
    narrator.verdict(ok=False, text="a check failed")


def test_people_read_talk_on_stderr_and_the_result_on_stdout(capsys: pytest.CaptureFixture[str]):
    tell_all(Narrator(Session()))
    out, err = capsys.readouterr()
    assert "1 seen" in err
    assert "RTX4090 (simulated)" in err
    assert "\x1b" not in err, "an offer's words are a stranger's"
    assert "deposited 0.050001 = paid 0.000794 + returned 0.049207 tokens" in out
    assert "2GiB" in err
    assert "9.519 s at 0.3000/h = 0.000794" in out
    assert "deposit 0x12 in block 17" in out
    assert out.splitlines()[-3:] == ["✔ good", "✖ bad", "✖ a check failed"]


def test_programs_read_one_object_per_line_on_stdout_alone(capsys: pytest.CaptureFixture[str]):
    tell_all(Narrator(Session(as_json=True)))
    out, err = capsys.readouterr()
    assert err == ""
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["type"] for line in lines] == ["offers", "receipt", "check", "check", "verdict"]
    assert lines[0]["offers"][0]["machine"] == OFFER["machine"]
    assert lines[1]["receipt"] == RECEIPT
    assert [line["ok"] for line in lines[2:]] == [True, False, False]


def test_quiet_leaves_the_result(capsys: pytest.CaptureFixture[str]):
    session = Session()
    session.quiet = True
    tell_all(Narrator(session))
    out, err = capsys.readouterr()
    assert err == ""
    assert "a check failed" in out
