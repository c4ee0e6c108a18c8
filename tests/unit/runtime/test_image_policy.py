"""Variables by which an image or a job could steer programs on the host."""

from __future__ import annotations

import pytest

from runtime.image_policy import refused_in_image, refused_in_job


@pytest.mark.parametrize(
    "entry",
    [
        "LD_PRELOAD=/evil.so",
        "LD_AUDIT=/evil.so",
        "LD_LIBRARY_PATH=",
        "LD_LIBRARY_PATH=lib",
        "LD_LIBRARY_PATH=/usr/lib:",
        "LD_LIBRARY_PATH=/usr/lib::/opt/lib",
        "LD_LIBRARY_PATH=/proc/self/cwd/lib",
        "LD_LIBRARY_PATH=/usr/../proc/self/cwd",
        "LD_LIBRARY_PATH=/work/out/lib",
        "LD_LIBRARY_PATH=/tmp",
        "NVIDIA_MIG_CONFIG_DEVICES=all",
        "NVIDIA_IMEX_CHANNELS=0",
    ],
)
def test_images_that_would_steer_a_host_side_hook_are_refused(entry: str) -> None:
    assert refused_in_image(["PATH=/usr/bin", entry])


@pytest.mark.parametrize(
    "entry",
    [
        "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        "NVIDIA_REQUIRE_CUDA=cuda>=12.4",
        "LANG=C.UTF-8",
        "WORLD_SIZE=1",
    ],
)
def test_what_every_cuda_image_carries_passes(entry: str) -> None:
    assert refused_in_image([entry]) is None


def test_a_job_brings_neither() -> None:
    assert refused_in_job({"LD_LIBRARY_PATH": "/usr/lib"})
    assert refused_in_job({"NVIDIA_VISIBLE_DEVICES": "all"})
    assert refused_in_job({"A=B": "c"})
    assert refused_in_job({"": "c"})
    assert refused_in_job({"A": "b\0c"})
    assert refused_in_job({"EPOCHS": "3", "EMPTY": ""}) is None
