"""How a job names the GPUs it wants: ``A100:2``, ``A100,H100``, ``24GB+``, ``24GB..48GB:2``, ``any``, ``none``."""

from __future__ import annotations

import re

from msgspec import Struct

from market.errors import InvalidRequest

KNOWN_MODELS = (
    "A10", "A16", "A30", "A40", "A100", "A4000", "A5000", "A6000", "B100", "B200", "B300", "GB200", "GH200",
    "GTX1080TI", "H100", "H200", "L4", "L40", "L40S", "MI250X", "MI300X", "P100", "RTX2080TI", "RTX3060",
    "RTX3070", "RTX3080", "RTX3090", "RTX4060TI", "RTX4070", "RTX4080", "RTX4090", "RTX5070", "RTX5080",
    "RTX5090", "RTX6000", "T4", "V100",
)  # fmt: skip
"""Only to catch slips of the pen. A model that is not here may still be on the market."""

_MEMORY = re.compile(r"(\d{1,5})GB(?:(\+)|\.\.(\d{1,5})GB)?", re.IGNORECASE | re.ASCII)
_COUNT = re.compile(r"[1-9][0-9]{0,3}")
_MODEL = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,47}")
_FIX = "NAME[:COUNT], NAME:MEMORY or MEMORY, as in A100:2, RTX4090, A100,H100:2, 24GB+, 24GB..48GB:2, any, none"


class GpuAsk(Struct, frozen=True, kw_only=True):
    """What was asked. ``models`` empty means any; ``("none",)`` means a machine without a GPU. Memory is per GPU."""

    models: tuple[str, ...] = ()
    count: int = 1
    vram_mib: int = 0
    vram_max_mib: int = 0


def parse_gpu(text: str) -> GpuAsk:
    """Read one GPU wish.

    Raises:
        InvalidRequest: ``bad_gpu`` (not the grammar), ``unknown_gpu`` (a known name with a slip) or
            ``contradiction`` (less memory at most than at least).
    """
    parts = [part.strip() for part in text.split(":")]
    if parts == ["none"]:
        return GpuAsk(models=("none",))
    models: tuple[str, ...] = ()
    memory, count = (1, 0), 1  # at least 1 MiB of its own memory: the plainest way to say "a GPU, whichever"
    rest = parts[1:]
    if found := _MEMORY.fullmatch(parts[0]):
        memory = _memory(text, found)
    elif parts[0] != "any":
        models = tuple(_model(text, name.strip()) for name in parts[0].split(","))
    if rest and not _MEMORY.fullmatch(parts[0]) and (found := _MEMORY.fullmatch(rest[0])):
        memory, rest = _memory(text, found), rest[1:]
    if rest and _COUNT.fullmatch(rest[0]) and int(rest[0]) <= 4096:
        count, rest = int(rest[0]), rest[1:]
    if rest:
        raise _bad(text)
    return GpuAsk(models=models, count=count, vram_mib=memory[0], vram_max_mib=memory[1])


def read_model(name: str) -> str:
    """The name of one model, in its usual spelling where it is known.

    Raises:
        InvalidRequest: ``bad_gpu`` or ``unknown_gpu``, as :func:`parse_gpu`.
    """
    return _model(name, name)


def _memory(text: str, found: re.Match[str]) -> tuple[int, int]:
    """A card sold as "24GB" reports 24,564 MiB and one sold as "80GB" 81,559: less than 2³⁰ bytes each, more than 10⁹.

    So the lower bound counts a GB as 10⁹ bytes and the upper bound as 2³⁰.
    """
    low = int(found[1])
    high = 0 if found[2] else int(found[3] or low)
    if high and high < low:
        raise InvalidRequest(
            f"'{text}' asks for at most {high}GB and at least {low}GB",
            code="contradiction",
            fix=f"put the smaller one first: {high}GB..{low}GB",
        )
    if low > 4096 or high > 4096:
        raise _bad(text)
    return low * 10**9 // 2**20, high * 1024


def _model(text: str, name: str) -> str:
    if not _MODEL.fullmatch(name) or name in ("any", "none"):
        raise _bad(text)
    plain = _plain(name)
    if plain in KNOWN_MODELS:
        return plain
    slips = [model for model in KNOWN_MODELS if _is_slip(plain, model)]
    if slips:
        raise InvalidRequest(
            f"no known GPU model is called '{name}'", code="unknown_gpu", fix=f"did you mean '{slips[0]}'?"
        )
    return name


def _plain(name: str) -> str:
    return name.upper().replace("-", "").removeprefix("NVIDIA").removeprefix("GEFORCE")


def _is_slip(word: str, model: str) -> bool:
    """Two letters swapped, or one doubled or left out. Another digit is no slip: it may be next year's model."""
    if len(model) < 4:
        return False
    if len(word) == len(model):
        return word != model and sorted(word) == sorted(model)
    longer, shorter = (word, model) if len(word) > len(model) else (model, word)
    return any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer))) and len(longer) - len(shorter) == 1


def _bad(text: str) -> InvalidRequest:
    return InvalidRequest(f"'{text}' does not name a GPU", code="bad_gpu", fix=_FIX)
