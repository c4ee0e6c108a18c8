"""What every GpuProbe promises. The NVIDIA one runs against a library of ours that stands where the driver's would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from market.feasibility import driver_number
from market.speeds import UNKNOWN, speed_of
from runtime.nvidia_probe import NvidiaProbe
from runtime.ports import Gpu, GpuProbe
from runtime.simulated_probe import SimulatedProbe

SOURCE = Path(__file__).parents[1] / "fakes" / "nvml" / "nvml.c"
ASK = """
import sys, msgspec
from market.feasibility import driver_number
from market.speeds import UNKNOWN, speed_of
from runtime.nvidia_probe import NvidiaProbe
sys.stdout.buffer.write(msgspec.json.encode(NvidiaProbe().gpus()))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with our ``libnvidia-ml.so.1``."""
    compiler = shutil.which("cc")
    assert compiler, "this test compiles a small C file: install a C compiler (apt-get install gcc)"
    directory = tmp_path_factory.mktemp("nvml")
    target = directory / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(target), str(SOURCE)], check=True)
    return directory


def ask(directory: Path, fault: str = "") -> list[Gpu]:
    """What the probe finds in a fresh process in which the loader meets our library first."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(directory), "FAKE_NVML": fault}
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, check=True)
    return msgspec.convert(json.loads(done.stdout), list[Gpu])


def test_both_cards_are_found_with_what_an_offer_needs(library: Path) -> None:
    assert ask(library) == [
        Gpu(index=0, uuid="GPU-aaaa", model="NVIDIA Test Card", vram_mib=24576, driver="550.54.15", cuda_milli=12400),
        Gpu(index=1, uuid="GPU-bbbb", model="NVIDIA Test Card", vram_mib=81920, driver="550.54.15", cuda_milli=12400),
    ]


def test_a_card_that_does_not_answer_is_left_out(library: Path) -> None:
    assert [gpu.uuid for gpu in ask(library, "broken_card")] == ["GPU-aaaa"]


def test_a_driver_that_does_not_start_means_no_card(library: Path) -> None:
    assert ask(library, "no_driver") == []


def test_a_library_without_a_function_means_no_card(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    assert compiler
    (tmp_path / "empty.c").write_text("int nothing;\n")
    command = [compiler, "-shared", "-fPIC", "-o", str(tmp_path / "libnvidia-ml.so.1"), str(tmp_path / "empty.c")]
    subprocess.run(command, check=True)
    assert ask(tmp_path) == []


def test_a_file_that_is_no_library_means_no_card(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    assert ask(tmp_path) == []


@pytest.mark.parametrize("probe", [NvidiaProbe(), SimulatedProbe(2)], ids=["nvidia", "simulated"])
def test_any_probe_gives_distinct_cards_in_order(probe: GpuProbe) -> None:
    gpus = probe.gpus()
    assert [gpu.index for gpu in gpus] == list(range(len(gpus)))
    assert len({gpu.uuid for gpu in gpus}) == len(gpus)
    assert all(gpu.vram_mib > 0 for gpu in gpus)


def test_what_is_simulated_says_so() -> None:
    assert [gpu.simulated for gpu in SimulatedProbe(3).gpus()] == [True] * 3
    assert SimulatedProbe(0).gpus() == []


@pytest.mark.gpu
def test_a_real_card_is_what_the_driver_says_it_is() -> None:
    """Runs where an NVIDIA card is: the probe against the driver's own tool."""
    asked = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,uuid,memory.total,driver_version", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=True,
    )
    told = [tuple(part.strip() for part in line.split(",")) for line in asked.stdout.splitlines()]
    found = NvidiaProbe().gpus()
    assert found
    assert [(gpu.model, gpu.uuid, str(gpu.vram_mib), gpu.driver) for gpu in found] == told
    for gpu in found:
        assert gpu.cuda_milli >= 11_000
        assert not gpu.simulated
        assert driver_number(gpu.driver) > 0
        assert speed_of(gpu.model) != UNKNOWN, f"'{gpu.model}' is not in the table of speeds"
