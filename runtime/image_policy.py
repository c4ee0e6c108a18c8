"""Which environment variables an image or a job must not bring. Pure; it decides, others refuse.

The NVIDIA container toolkit runs hooks *on the host* with the container's environment. ``LD_PRELOAD`` in an image of
three lines was enough to run code as root there (CVE-2025-23266), and ``NVIDIA_VISIBLE_DEVICES=all`` handed every GPU
of the machine to a job that had paid for one. This module must never grow an exception for a variable that makes a
host-side program load a file the job controls.
"""

from __future__ import annotations

from collections.abc import Iterable

OVERRIDDEN = frozenset({"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"})
"""Set by us in every container, so what the image says about them has no effect (CUDA images all carry them)."""
INERT = frozenset({"NVIDIA_PRODUCT_NAME", "NVIDIA_CUDA_END_OF_LIFE", "NVIDIA_BUILD_ID", "NVIDIA_PYTORCH_VERSION"})
_JOB_CONTROLLED = ("/proc", "/dev", "/sys", "/tmp", "/work")


def refused_in_image(env: Iterable[str]) -> str | None:
    """Judge an image's ``KEY=value`` list; returns the reason to refuse it, or None.

    ``LD_LIBRARY_PATH`` passes when it names only absolute directories outside the places a job can write or
    ``/proc``: a relative part, or ``/proc/self/cwd``, would point a host-side hook into the container.
    """
    for entry in env:
        key, _, value = entry.partition("=")
        if key == "LD_LIBRARY_PATH":
            if (bad := _unsafe_directory(value)) is not None:
                return f"the image sets LD_LIBRARY_PATH with the unsafe part {bad!r}"
        elif key.startswith("LD_"):
            return f"the image sets {key}, which programs on the host would obey"
        elif key.startswith("NVIDIA_") and not _harmless(key):
            return f"the image sets {key}, which could widen the GPUs it is given"
    return None


def refused_in_job(env: dict[str, str]) -> str | None:
    """Judge the variables a job asks for: stricter than for an image, since nothing needs them there."""
    for key in env:
        if key.startswith(("LD_", "NVIDIA_")):
            return f"a job may not set {key}"
        if not key or "=" in key or "\0" in key + env[key]:
            return "a variable's name is empty or holds '=', or one holds a NUL"
    return None


def _harmless(key: str) -> bool:
    return key in OVERRIDDEN or key in INERT or key.startswith("NVIDIA_REQUIRE_")


def _unsafe_directory(value: str) -> str | None:
    for part in value.split(":"):
        # An empty part means the current directory to the loader; "a/../proc" hides where it leads.
        if not part.startswith("/") or ".." in part.split("/"):
            return part
        if any(f"{part}/".startswith(f"{top}/") for top in _JOB_CONTROLLED):
            return part
    return None
