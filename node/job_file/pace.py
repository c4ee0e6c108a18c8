"""How long a job is expected to run, and on which card: ``20m``, ``20m@A100``. Lets auctions prefer quick machines."""

from __future__ import annotations

from msgspec import Struct

from market.errors import InvalidRequest
from market.feasibility import same_model
from market.speeds import REFERENCE, SPEEDS, speed_of
from node.job_file.gpu import GpuAsk, read_model
from node.quantities import parse_duration_ms

MAX_MS = 31 * 86_400_000


class Pace(Struct, frozen=True, kw_only=True):
    """An expected length in milliseconds, and the card it was measured on; empty when not said."""

    ms: int
    model: str = ""


def parse_pace(text: str) -> Pace:
    """Read one expected duration.

    Raises:
        InvalidRequest: no duration, out of range, or a card nobody has a figure for.
    """
    length, at, name = text.partition("@")
    ms = parse_duration_ms(length)
    if not 1_000 <= ms <= MAX_MS:
        raise InvalidRequest(f"'{length.strip()}' is out of range", code="invalid_value", fix="from 1s to 31d")
    if not at:
        return Pace(ms=ms)
    model = read_model(name.strip())
    if not any(same_model(model, known) for known in SPEEDS):
        raise InvalidRequest(
            f"there is no figure for the speed of '{name.strip()}'",
            code="unknown_gpu",
            fix=f"say it for one of {', '.join(SPEEDS)}",
        )
    return Pace(ms=ms, model=model)


def work_speed(pace: Pace, gpu: GpuAsk) -> int:
    """The speed of the machine the expected length is true for: the card named with it, the first that is asked for, or
    the reference card."""
    if pace.model:
        return speed_of(pace.model)
    named = [model for model in gpu.models if model != "none"]
    return speed_of(named[0]) if named else REFERENCE


def shortest_ms(pace: Pace, gpu: GpuAsk) -> int:
    """The expected length on the quickest card that will do."""
    models = [model for model in gpu.models if model != "none"]
    quickest = max(map(speed_of, models)) if models else max(SPEEDS.values())
    return pace.ms * work_speed(pace, gpu) // max(quickest, work_speed(pace, gpu))
