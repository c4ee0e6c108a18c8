"""``cfab verify-award`` on good files, spoilt files and no files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from market.transcript import Try, pack_file
from tests.fakes.cli_runner import cfab
from tests.fakes.scripted_control import ScriptedControl, served
from tests.unit.market.test_transcript import Auction

JOB = "9c" * 16


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.award"
    path.write_bytes(pack_file(Auction().file()))
    return path


def test_a_good_award_is_said_to_be_one(file: Path, tmp_path: Path):
    done = cfab(tmp_path, "verify-award", str(file))
    assert done.code == 0
    assert done.out.startswith(b"valid: ")
    assert "4 signed offers" in done.err


def test_what_rests_on_a_word_alone_is_told_with_the_word(tmp_path: Path):
    auction, path = Auction(), tmp_path / "x.award"
    words = (Try(offer_id=auction.offers[0].id, word="same gang"),)
    path.write_bytes(pack_file(auction.file(place=1, tries=words)))
    done = cfab(tmp_path, "verify-award", str(path))
    assert done.code == 0
    assert "1 better offers did not get it: for this there is only the requester's word (same gang)" in done.err


def test_the_same_as_data(file: Path, tmp_path: Path):
    done = cfab(tmp_path, "verify-award", str(file), "--json")
    found = json.loads(done.out)
    assert (done.code, found["valid"], found["place"], found["offers"]) == (0, True, 1, 4)


def test_one_altered_byte_is_refused(file: Path, tmp_path: Path):
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(bytes(data))
    done = cfab(tmp_path, "verify-award", str(file))
    assert (done.code, done.out.startswith(b"refused: ")) == (1, True)
    assert json.loads(cfab(tmp_path, "verify-award", str(file), "--json").out)["valid"] is False


def test_a_better_offer_passed_over_is_refused(tmp_path: Path):
    path = tmp_path / "x.award"
    path.write_bytes(pack_file(Auction().file(place=1)))
    done = cfab(tmp_path, "verify-award", str(path))
    assert (done.code, b"was not asked" in done.out) == (1, True)


@pytest.mark.parametrize("content", [b"", b"version: 1\n", b"\x00" * 100])
def test_what_is_no_award_file_is_refused_in_words(tmp_path: Path, content: bytes):
    path = tmp_path / "x"
    path.write_bytes(content)
    done = cfab(tmp_path, "verify-award", str(path))
    assert (done.code, b"no award file" in done.out) == (1, True)


def test_a_file_that_is_not_there_is_an_error_with_a_reason(tmp_path: Path):
    done = cfab(tmp_path, "verify-award", str(tmp_path / "nothing"))
    assert done.code != 0
    assert "cannot be read" in done.err
    assert "Traceback" not in done.err


def test_explain_writes_the_file_that_this_reads_and_never_over_another(tmp_path: Path):
    home, target = tmp_path / "home", tmp_path / "my award"
    home.mkdir(mode=0o700)
    control = ScriptedControl()
    control.explanation = {"job": JOB, "auctions": []}
    with served(control, home / "api.sock"):
        done = cfab(home, "explain", JOB, "--award", str(target))
        assert (done.code, target.read_bytes()) == (0, b"cfab")
        assert f"verify-award '{target}'" in done.err
        again = cfab(home, "explain", JOB, "--award", str(target))
        assert (again.code, "not overwritten" in again.err) == (1, True)
