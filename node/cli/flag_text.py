"""Whole numbers of a request as the text of a flag. Pure.

Each text is read back as the number it was made from, or, where a flag is coarser, as the nearest one on the side that
lets more offers through: what is printed must match when it is typed in.
"""

from __future__ import annotations

import re

from market.feasibility import same_model
from market.money import amount_due, format_tokens
from market.records import Requirements

_HUNDREDTH_OF_CENT = 100_000
"""In nanotokens: prices are shown to four decimals of a token per hour."""
_MIB, _GB = 2**20, 10**9
_PLAIN_MODEL = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,47}")


def price_text(nano_per_gpu_second: int) -> str:
    """A price cap per hour, rounded up to four decimals."""
    steps = -(-nano_per_gpu_second * 3600 // _HUNDREDTH_OF_CENT)
    return f"{steps // 10_000}.{steps % 10_000:04d}/h"


def total_text(nano_per_gpu_second: int, gpu_ms: int, machines: int = 1) -> str:
    """The cap on the whole job at which this price is within it, on each of so many machines."""
    return format_tokens(machines * amount_due(nano_per_gpu_second, gpu_ms))


def cores_text(milli: int) -> str:
    """CPU cores, exact."""
    return _decimal(milli, 3)


def share_text(permille: int) -> str:
    """A share from 0 to 1, exact."""
    return _decimal(permille, 3)


def cuda_text(milli: int) -> str:
    """A CUDA version, rounded down to one decimal."""
    return _decimal(milli // 100, 1)


def duration_text(ms: int) -> str:
    """A duration, exact, in the largest unit that is whole."""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def round_trip_text(us: int) -> str:
    """A longest round trip, rounded up to a tenth of a millisecond."""
    return _decimal(-(-us // 100), 1) + "ms"


def gpu_text(needs: Requirements) -> str:
    """Models, memory and count as ``--gpu`` takes them; empty when the job takes a machine without a GPU too."""
    if needs.gpus == ("none",):
        return "none"
    memory = _memory_text(needs.vram_mib, needs.vram_max_mib)
    if not needs.gpus and not needs.vram_mib and not memory and needs.slots == 1:
        return ""
    models = ",".join(model_text(model) for model in needs.gpus)
    parts = [models, memory] if models else [memory or "any"]
    count = str(needs.slots) if needs.slots != 1 else ""
    return ":".join(part for part in (*parts, count) if part)


def model_text(offered: str) -> str:
    """A model as a driver spells it (``NVIDIA H100 80GB HBM3``) in the shortest form that is still the same one."""
    if _PLAIN_MODEL.fullmatch(offered):
        return offered
    words = [word for word in re.split(r"[^A-Za-z0-9]+", offered) if word]
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            short = "".join(words[start:end])
            if _PLAIN_MODEL.fullmatch(short) and same_model(offered, short):
                return short.upper()
    return offered


def _memory_text(low_mib: int, high_mib: int) -> str:
    """A lower bound counts a GB as 10⁹ bytes and an upper one as 2³⁰, as ``node.job_file.gpu`` reads them."""
    low = -(-(low_mib + 1) * _MIB // _GB) - 1
    high = -(-high_mib // 1024)
    if not high:
        return f"{low}GB+" if low > 0 else ""
    low = min(low, high)
    return f"{low}GB" if low == high else f"{low}GB..{high}GB"


def _decimal(value: int, places: int) -> str:
    whole, part = divmod(value, 10**places)
    return f"{whole}.{part:0{places}d}".rstrip("0").rstrip(".")
