"""Find the NVIDIA GPUs of this machine through NVML. Never raises: no driver, no library, no card mean no GPU.

NVML answers for the machine, not for a container, so nothing a job does changes what is found here.
"""

from __future__ import annotations

from contextlib import suppress

import pynvml

from runtime.ports import Gpu

MIB = 1024 * 1024


class NvidiaProbe:
    """A ``GpuProbe`` over ``libnvidia-ml.so.1``."""

    def gpus(self) -> list[Gpu]:
        """Every GPU that answers. One that fails half way (fallen off the bus) is left out, the others stay."""
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return []
        try:
            return _inventory()
        except pynvml.NVMLError:
            return []
        finally:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()


def _inventory() -> list[Gpu]:
    driver = _word(pynvml.nvmlSystemGetDriverVersion())
    cuda = _cuda_milli(pynvml.nvmlSystemGetCudaDriverVersion_v2())
    found: list[Gpu] = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        with suppress(pynvml.NVMLError):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            found.append(
                Gpu(
                    index=index,
                    uuid=_word(pynvml.nvmlDeviceGetUUID(handle)),
                    model=_word(pynvml.nvmlDeviceGetName(handle)),
                    vram_mib=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) // MIB,
                    driver=driver,
                    cuda_milli=cuda,
                )
            )
    return found


def _cuda_milli(version: int) -> int:
    """NVML says 12040 for CUDA 12.4; we say 12400, so that 12.4 × 1000 is readable."""
    return version // 1000 * 1000 + version % 1000 // 10 * 100


def _word(text: str | bytes) -> str:
    """Older bindings give bytes. Cut to the length a market record carries."""
    return (text.decode("ascii", "replace") if isinstance(text, bytes) else text)[:64]
