"""What keeps `make deep` able to run: its list of faults fits the source, and its table tells a surprise."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.contracts.deep.halmos_proofs import REFUTED_BY
from tests.contracts.deep.mutants import Mutant, read_mutants
from tests.contracts.deep.places import PROJECT, SOURCES
from tests.contracts.deep.report import Row, table
from tests.contracts.deep.slither_checks import CONTROLS

MUTANTS = read_mutants()


def test_every_fault_has_its_one_place_in_the_source() -> None:
    for mutant in MUTANTS:
        text = (SOURCES / mutant.file).read_text()
        assert mutant.applied(text) != text, mutant.name


def test_no_two_faults_are_the_same() -> None:
    twice = [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1]
    assert twice == []
    assert len({(mutant.file, mutant.find, mutant.replace) for mutant in MUTANTS}) == len(MUTANTS)


def test_there_are_faults_in_every_call_that_moves_money() -> None:
    calls = (
        "deposit depositMany depositWithPermit depositWithAuthorization redeemMany redeemManyTo startExit cancelExit"
    )
    calls += " finishExit closeTogether release addStake leaveStake takeStake slashEquivocation"
    assert set(calls.split()) <= {mutant.place for mutant in MUTANTS}
    assert len(MUTANTS) >= 40


def test_every_statement_to_prove_has_a_fault_that_refutes_it() -> None:
    text = (PROJECT / "symbolic" / "CheckEscrow.t.sol").read_text()
    statements = {line.split("(")[0].split()[-1] for line in text.splitlines() if "function check_" in line}
    assert {name for name in statements if not name.startswith("check_control_")} == set(REFUTED_BY)
    assert set(REFUTED_BY.values()) <= {mutant.name for mutant in MUTANTS}


def test_the_escrows_that_slither_must_report_can_be_made() -> None:
    for control in CONTROLS:
        for file, there, _ in control.changes:
            assert (SOURCES / file).read_text().count(there) == 1, control.what


def test_a_fault_whose_place_is_gone_or_not_the_only_one_is_told() -> None:
    fault = Mutant("name", "Escrow.sol", "f", "a", "b")
    assert fault.applied("xay") == "xby"
    for text in ("xy", "aa"):
        with pytest.raises(ValueError, match="'name'"):
            fault.applied(text)


def test_the_table_counts_what_is_not_as_it_must_be() -> None:
    good, bad = Row("forge", "a", "b", True, 2.0), Row("mutants", "c", "SURVIVED", False)
    assert table([good]).endswith("all as it must be")
    assert table([good, bad]).endswith("1 of 2 did not come out as they must")
