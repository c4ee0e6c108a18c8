"""``cfab receipts`` over a real socket and over files: shown, verified, exported, and proven."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from market.errors import Unavailable
from market.usage import ReportChain
from node.equivocation_file import read_proof
from node.receipt_archive import in_pieces
from node.receipt_audit import read_deal
from node.receipt_file import write_file
from node.receipt_lines import Period
from tests.fakes.cli_runner import cfab
from tests.fakes.receipts import a_receipt, refused, some_receipts
from tests.fakes.samples import CHAIN_ID, ESCROW, PAYEE
from tests.fakes.scripted_control import JOB, LEASE, ScriptedControl, served

KEPT = some_receipts()
FILE = write_file([KEPT], Period())
SEEN: dict[str, Any] = {
    "chain_id": CHAIN_ID, "escrow": "0x" + ESCROW.hex(), "paid": 1_124, "held": 0, "deposited": 60_000,
    "refunded": 58_876, "transactions": {"0x" + "72" * 32: 9},
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def control(home: Path) -> Iterator[ScriptedControl]:
    node = ScriptedControl()
    node.evidence, node.chain_answer = in_pieces(KEPT), SEEN
    with served(node, home / "api.sock"):
        yield node


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "receipts.json"
    path.write_bytes(FILE)
    return path


def checks(answer: Any) -> dict[str, str]:
    return {row["check"]: row["result"] for row in answer["checks"]}


def test_show_has_a_line_for_every_step(control: ScriptedControl, home: Path) -> None:
    shown = cfab(home, "receipts", "show", LEASE).out.decode()
    assert "set aside 0.050000 tokens" in shown
    assert len([line for line in shown.splitlines() if "2027-01-15T" in line]) == 4
    assert "final" in shown
    lines = cfab(home, "receipts", "show", LEASE, "--json").json["lines"]
    assert [line["amount_units"] for line in lines] == [0, 500, 500, 124]


def test_show_tells_what_was_refused_and_why(control: ScriptedControl, home: Path) -> None:
    twin = a_receipt(KEPT, ReportChain(), 1, lane=0)
    control.evidence = in_pieces(replace(KEPT, answers=(*KEPT.answers, refused(KEPT, twin))))
    assert "broken_chain" in cfab(home, "receipts", "show", LEASE).out.decode()
    (told,) = cfab(home, "receipts", "show", LEASE, "--json").json["refusals"]
    assert (told["reason"], told["expected"], told["found"]) == ("broken_chain", "at most 0 ms by now", "1 ms")


@pytest.mark.parametrize("reference", [LEASE, LEASE[:6], "5e" * 4, JOB, "-"])
def test_a_job_is_verified_against_the_chain(control: ScriptedControl, home: Path, reference: str) -> None:
    done = cfab(home, "receipts", "verify", reference, "--json")
    assert (done.code, done.json["valid"], done.json["chain"]) == (0, True, "checked")
    assert set(checks(done.json).values()) == {"pass"}
    (asked,) = control.asked_of_chain
    assert (asked["payee"], asked["transactions"]) == (PAYEE.hex(), ["0x" + "72" * 32])
    table = cfab(home, "receipts", "verify", reference).out.decode()
    assert "chain: paid" in table
    assert table.splitlines()[-1] == "valid: 4 receipts of 1 lease"


def test_where_the_chain_says_otherwise_the_job_is_refused(control: ScriptedControl, home: Path) -> None:
    control.chain_answer = {**SEEN, "paid": 1_123, "held": 1}
    done = cfab(home, "receipts", "verify", LEASE)
    assert done.code == 1
    assert "refused: chain: paid" in done.out.decode()


@pytest.mark.parametrize("answer", [{}, {**SEEN, "paid": "much"}])
def test_an_answer_that_is_not_understood_is_no_comparison(
    control: ScriptedControl, home: Path, answer: dict[str, Any]
) -> None:
    control.chain_answer = answer
    done = cfab(home, "receipts", "verify", LEASE, "--json")
    assert (done.code, done.json["chain"]) == (0, "offline")


def test_a_chain_that_is_away_is_said_to_be(control: ScriptedControl, home: Path) -> None:
    control.fail["receipts_on_chain"] = Unavailable("the chain does not answer", code="chain_away")
    done = cfab(home, "receipts", "verify", LEASE)
    assert done.code == 0
    assert "not compared with the chain: the chain does not answer" in done.out.decode()


def test_a_file_is_verified_without_a_node(home: Path, file: Path) -> None:
    done = cfab(home, "receipts", "verify", str(file))
    assert done.code == 0
    assert "not compared with the chain: no node is running here" in done.out.decode()
    assert done.out.decode().splitlines()[-1] == "valid: 4 receipts of 1 lease; not compared with the chain"
    said = cfab(home, "receipts", "verify", str(file), "--json").json
    assert (said["valid"], said["chain"], checks(said)["file"]) == (True, "offline", "pass")


def test_a_file_is_compared_with_the_chain_where_there_is_a_node(
    control: ScriptedControl, home: Path, file: Path
) -> None:
    assert cfab(home, "receipts", "verify", str(file), "--json").json["chain"] == "checked"


@pytest.mark.parametrize("place", range(0, len(FILE), max(1, len(FILE) // 61)))
def test_one_altered_byte_is_refused_with_exit_code_and_reason(home: Path, file: Path, place: int) -> None:
    file.write_bytes(FILE[:place] + bytes([FILE[place] ^ 1]) + FILE[place + 1 :])
    done = cfab(home, "receipts", "verify", str(file))
    assert done.code == 1, done.out
    assert "refused: " in done.out.decode() or done.err.startswith("error: "), "never a traceback"


def test_what_is_neither_job_nor_file_is_not_found(control: ScriptedControl, home: Path, tmp_path: Path) -> None:
    assert cfab(home, "receipts", "verify", "77").code == 4
    missing = cfab(home, "receipts", "verify", str(tmp_path / "none.json"))
    assert (missing.code, "there is no such file" in missing.err) == (4, True)


async def no_receipts(job: str | None = None) -> list[Any]:
    return []


@pytest.mark.parametrize("verb", ["verify", "show", "export"])
def test_the_last_of_none_is_said_to_be_none(
    control: ScriptedControl, home: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(control, "receipts", no_receipts)
    monkeypatch.setattr(control, "jobs", no_receipts)
    ended = cfab(home, "receipts", verb, "-")
    assert (ended.code, "there is no receipt yet" in ended.err) == (4, True)


def test_export_sums_are_those_of_the_receipts_in_every_form(
    control: ScriptedControl, home: Path, tmp_path: Path
) -> None:
    owed = read_deal(KEPT).award.price * 11_234 // 1_000_000 + 1
    document = cfab(home, "receipts", "export").json
    assert cfab(home, "receipts", "export", LEASE, "--json").json == document
    assert document["totals"]["amount_units"] == owed == 1_124
    table = cfab(home, "receipts", "export", "--format", "csv").out.decode()
    assert sum(int(row["amount_units"]) for row in csv.DictReader(io.StringIO(table))) == owed
    events = cfab(home, "receipts", "export", "--format", "cloudevents").json
    assert sum(event["data"]["amount_units"] for event in events) == owed
    out = tmp_path / "bill.csv"
    told = cfab(home, "receipts", "export", "--format", "csv", "-o", str(out), "--json").json
    assert (told["amount_units"], told["receipts"], told["file"]) == (owed, 4, str(out))
    assert out.read_bytes().decode() == table


def test_what_is_exported_is_what_is_verified(control: ScriptedControl, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.json"
    assert "4 receipts, 0.001124 tokens" in cfab(home, "receipts", "export", "-o", str(out)).out.decode()
    assert out.read_bytes() == FILE
    assert cfab(home, "receipts", "verify", str(out)).code == 0


def test_export_takes_the_days_that_were_asked_for(control: ScriptedControl, home: Path) -> None:
    def count(*words: str) -> int:
        return int(cfab(home, "receipts", "export", *words).json["totals"]["receipts"])

    assert count("--since", "2027-01-15") == 4
    assert count("--since", "2027-01-15T08:00:06Z") == 2
    assert count("--until", "2027-01-15T09:00:06+01:00") == 2
    assert count("--until", "2027-01-15") == 0


@pytest.mark.parametrize(
    "words", [("--since", "soon"), ("--since", "2027-01-02", "--until", "2027-01-01"), ("--until", "0001-01-01")]
)
def test_a_date_that_is_none_is_refused(control: ScriptedControl, home: Path, words: tuple[str, ...]) -> None:
    done = cfab(home, "receipts", "export", *words)
    assert done.code == 1
    assert done.err.startswith("error: ")


def test_csv_is_not_printed_where_json_is_wanted(control: ScriptedControl, home: Path) -> None:
    assert cfab(home, "receipts", "export", "--format", "csv", "--json").code == 2


def test_two_files_prove_what_a_provider_said_twice(home: Path, file: Path, tmp_path: Path) -> None:
    twin = a_receipt(KEPT, ReportChain(), 1, lane=0)
    other, out = tmp_path / "other.json", tmp_path / "proof.json"
    other.write_bytes(write_file([replace(KEPT, answers=(*KEPT.answers, refused(KEPT, twin)))], Period()))
    done = cfab(home, "receipts", "prove", str(file), str(other), "-o", str(out))
    assert (done.code, done.out.decode()) == (0, f"{out}: two receipts of 0x{PAYEE.hex()} under number 1\n")
    assert read_proof(out.read_bytes())[1].provider == PAYEE
    assert cfab(home, "receipts", "prove", str(other), str(other), "--json").json == json.loads(out.read_bytes())
    assert cfab(home, "receipts", "prove", str(file), str(file)).code == 1


def test_what_cannot_be_read_or_written_is_said(home: Path, file: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    for words in (("prove", str(junk), str(file)), ("prove", str(file), str(tmp_path / "none")), ("verify", str(junk))):
        done = cfab(home, "receipts", *words)
        assert done.code == 1, done
        assert done.err.startswith("error: ")
    nowhere = tmp_path / "none" / "out"
    twin = a_receipt(KEPT, ReportChain(), 1, lane=0)
    file.write_bytes(write_file([replace(KEPT, answers=(*KEPT.answers, refused(KEPT, twin)))], Period()))
    done = cfab(home, "receipts", "prove", str(file), str(file), "-o", str(nowhere))
    assert done.code == 1
    assert done.err.startswith("error: ")


def test_every_command_of_the_guide_runs(
    control: ScriptedControl, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "receipts.md").read_text(encoding="utf-8")
    shown = [line.split("   ")[0].split() for line in guide.splitlines() if line.startswith("cfab ")]
    assert len(shown) >= 8
    monkeypatch.chdir(tmp_path)
    twin = a_receipt(KEPT, ReportChain(), 1, lane=0)
    Path("bill.json").write_bytes(FILE)
    Path("a.json").write_bytes(FILE)
    Path("b.json").write_bytes(write_file([replace(KEPT, answers=(*KEPT.answers, refused(KEPT, twin)))], Period()))
    for words in shown:
        done = cfab(home, *(JOB if word == "JOB" else word for word in words[1:]))
        assert done.code == 0, (words, done)
