"""How quick a card is beside another, for offers whose owner did not measure. 1000 is one A100.

The figures are the vendors' dense half-precision tensor rates (NVIDIA and AMD data sheets) relative to the A100's 312
TFLOPS, rounded. They are a first guess for comparing offers and nothing else: an owner's measurement replaces them, and
the lengths of one's own jobs correct both.
"""

from __future__ import annotations

from functools import lru_cache

from market.feasibility import asked_as, names_of

REFERENCE = 1000
UNKNOWN = 500
"""A card nobody has a figure for: not quick enough to win on speed, not slow enough to lose on it."""

NO_GPU = "none"
"""Machines without a card all count as equally quick."""

SPEEDS = {
    "B300": 7200, "B100": 5600, "B200": 7200, "GB200": 8000, "H200": 3170, "GH200": 3170, "H100": 3170, "MI300X": 4190,
    "MI250X": 1230, "A100": 1000, "L40S": 1160, "L40": 580, "L4": 390, "A40": 480, "A30": 530, "A16": 230, "A10": 400,
    "A6000": 500, "A5000": 360, "A4000": 250, "RTX6000": 1160, "RTX5090": 1340, "RTX5080": 720, "RTX5070": 400,
    "RTX4090": 1060, "RTX4080": 620, "RTX4070": 370, "RTX4060TI": 280, "RTX3090": 460, "RTX3080": 380,
    "RTX3070": 260, "RTX3060": 160, "RTX2080TI": 340, "V100": 400, "P100": 60, "T4": 210, "GTX1080TI": 35,
}  # fmt: skip


_NAMES = tuple(SPEEDS)
_PLACES = {asked_as(name): place for place, name in enumerate(_NAMES)}
"""To look a name up, not to compare it with every line: strangers make up models by the thousand."""


def speed_of(model: str) -> int:
    """The speed of a card by its model, as an offer spells it; :data:`UNKNOWN` for one that is not listed."""
    if model == NO_GPU:
        return REFERENCE
    name = listed_name(model)
    return UNKNOWN if name is None else SPEEDS[name]


@lru_cache(maxsize=4096)
def listed_name(model: str) -> str | None:
    """Under which name a card stands in the list, however an offer spells it; None for one that does not."""
    found = [_PLACES[name] for name in names_of(model) if name in _PLACES]
    return _NAMES[min(found)] if found else None


def performance(speed: int) -> int:
    """Speed as permille for scoring, 0..999: grows with speed and flattens, so that a tenfold card is not ten times as
    good. An A100 has 500."""
    return 1000 * speed // (speed + REFERENCE) if speed > 0 else 0
