"""The four kinds of error carry what a door needs to explain them."""

from __future__ import annotations

import pytest

from market.errors import BrokenInvariant, FabricError, InvalidRequest, PeerFault, Unavailable

KINDS = (InvalidRequest, PeerFault, Unavailable, BrokenInvariant)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_has_a_code_a_sentence_and_a_remedy(kind: type[FabricError]):
    error = kind("no such key", code="unknown_key", fix="remove it", where="job.yaml:7:3")
    told = (error.code, error.message, error.fix, error.where)
    assert told == ("unknown_key", "no such key", "remove it", "job.yaml:7:3")
    assert str(error) == "no such key"


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_code_the_kind_is_the_code(kind: type[FabricError]):
    error = kind("x")
    assert error.code == kind.__name__.lower()
    assert (error.fix, error.where) == ("", "")


def test_no_kind_passes_for_another():
    for one in KINDS:
        for other in KINDS:
            assert issubclass(one, other) == (one is other)
