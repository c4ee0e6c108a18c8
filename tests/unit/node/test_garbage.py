"""How often a node's interpreter looks for cycles."""

import gc
from collections.abc import Iterator

import pytest

from node.garbage import YOUNG, collect_less_often


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_looks_less_often_and_never_at_what_was_there() -> None:
    there = [[number] for number in range(1_000)]
    collect_less_often()
    assert gc.get_threshold()[0] == YOUNG
    assert gc.get_freeze_count() >= len(there)


def test_still_looks() -> None:
    collect_less_often()
    assert gc.isenabled()
