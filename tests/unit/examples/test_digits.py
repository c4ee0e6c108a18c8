"""The example job, run for real as a program of its own, on a bare interpreter as in the job image."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``-I -S``: no site packages, so an import from outside the standard library fails."""
    command = [sys.executable, "-I", "-S", str(EXAMPLE / "train.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("digits")
    return out / "model.json", run("--epochs", "6", "--out", str(out)).stdout


def test_it_learns_and_says_so_each_epoch(trained: tuple[Path, str]):
    _, printed = trained
    losses = [float(line.split()[3]) for line in printed.splitlines() if line.startswith("epoch")]
    assert len(losses) == 6
    assert losses[-1] < losses[0] / 4


def test_the_model_is_better_than_93_percent_on_images_it_never_saw(trained: tuple[Path, str]):
    model = json.loads(trained[0].read_text())
    assert model["accuracy"] >= 0.93
    assert model["data_sha256"] == hashlib.sha256((EXAMPLE / "digits.csv.gz").read_bytes()).hexdigest()


def test_the_claimed_accuracy_follows_from_the_weights(trained: tuple[Path, str]):
    claimed = json.loads(trained[0].read_text())["accuracy"]
    assert f"{claimed:.2%}" in run("--evaluate", str(trained[0])).stdout


def test_a_model_with_other_weights_does_not_keep_its_accuracy(trained: tuple[Path, str], tmp_path: Path):
    model = json.loads(trained[0].read_text())
    model["output"] = model["output"][::-1]
    broken = tmp_path / "model.json"
    broken.write_text(json.dumps(model))
    measured = float(run("--evaluate", str(broken)).stdout.rpartition(" ")[2].rstrip("%\n"))
    assert measured < 50


def test_the_same_seed_gives_the_same_model(tmp_path: Path):
    for name in ("one", "two"):
        run("--epochs", "1", "--out", str(tmp_path / name))
    models = [(tmp_path / name / "model.json").read_bytes() for name in ("one", "two")]
    assert models[0] == models[1]


def test_the_data_are_the_attributed_ones():
    with gzip.open(EXAMPLE / "digits.csv.gz", "rt") as lines:
        rows = [[int(value) for value in line.split(",")] for line in lines]
    assert len(rows) == 1797
    assert {len(row) for row in rows} == {65}
    assert {row[-1] for row in rows} == set(range(10))
    digest = hashlib.sha256((EXAMPLE / "digits.csv.gz").read_bytes()).hexdigest()
    assert digest in (EXAMPLE / "README.md").read_text()
