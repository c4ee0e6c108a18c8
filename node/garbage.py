"""How often the interpreter looks for garbage that refers to itself."""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 20_000, 20, 50


def collect_less_often() -> None:
    """Look for cycles every :data:`YOUNG` new objects instead of every 700, and never at what is here already.

    A node holds some hundred thousand small objects that live for minutes (offers, rows, keys). With the interpreter's
    own pace every burst of gossip walks over all of them several times: a twentieth of all it costs to take in an
    offer. What is freed at once is not affected, and cycles are few: they may wait for thousands of objects more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
