"""The shipped escrow under forge: unit and fuzz tests of every call, and random histories against books of their own.

``make deep`` runs the same tests with more cases, longer histories and a new seed each time.
"""

from __future__ import annotations

import pytest

from tests.contracts.deep.forge import INVARIANTS, failures, run_forge

pytestmark = [pytest.mark.chain, pytest.mark.processes]


def test_every_call_does_what_it_says_and_refuses_the_rest() -> None:
    tests = run_forge("--no-match-contract", INVARIANTS)
    assert failures(tests) == []
    assert len(tests) >= 60, "forge found only a part of the tests"


def test_random_histories_keep_the_books() -> None:
    tests = run_forge("--match-contract", INVARIANTS)
    assert failures(tests) == []
    assert sum(test.calls for test in tests) == 64 * 64, "forge ran fewer histories, or shorter ones"
