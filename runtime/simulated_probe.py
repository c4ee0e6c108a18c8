"""GPUs that do not exist, for tests and the demo. Every one says so, and offers made from it must say so too."""

from __future__ import annotations

from runtime.ports import Gpu


class SimulatedProbe:
    """A ``GpuProbe`` that finds ``count`` equal GPUs, all marked ``simulated``."""

    def __init__(self, count: int, *, model: str = "Simulated GPU", vram_mib: int = 24_576) -> None:
        self._count = count
        self._model = model
        self._vram_mib = vram_mib

    def gpus(self) -> list[Gpu]:
        return [
            Gpu(
                index=index,
                uuid=f"SIM-{index:08d}",
                model=self._model,
                vram_mib=self._vram_mib,
                driver="simulated",
                cuda_milli=0,
                simulated=True,
            )
            for index in range(self._count)
        ]
