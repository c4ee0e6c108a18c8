"""Lanes filled by hand are remembered, and forgotten when their owner lets them go."""

from __future__ import annotations

import pytest

from ledger.voucher import Domain
from market.errors import Unavailable
from node.kept_lanes import KeptLanes
from tests.fakes.memory_journal import MemoryJournal

DOMAIN, OTHER = Domain(31337, b"\xe5" * 20), Domain(1, b"\xe5" * 20)
ONE, TWO = b"\x01" * 20, b"\x02" * 20


def lanes(journal: MemoryJournal, domain: Domain = DOMAIN) -> KeptLanes:
    return KeptLanes(journal, domain, lambda: 7)


async def test_what_is_kept_survives_a_restart_and_what_was_let_go_does_not() -> None:
    journal = MemoryJournal()
    kept = lanes(journal)
    seen = kept.payees
    for payee in (ONE, TWO, ONE):
        await kept.keep(payee)
    await kept.let_go(TWO)
    await kept.let_go(TWO)
    assert seen == {ONE}
    again = lanes(journal.crash())
    same = again.payees
    await again.load()
    await again.load()
    assert again.payees is same
    assert same == {ONE}


async def test_each_escrow_has_its_own() -> None:
    journal = MemoryJournal()
    await lanes(journal).keep(ONE)
    other = lanes(journal, OTHER)
    await other.load()
    assert other.payees == set()


async def test_what_cannot_be_written_down_is_not_kept() -> None:
    journal = MemoryJournal()
    kept = lanes(journal)
    journal.full = True
    with pytest.raises(Unavailable):
        await kept.keep(ONE)
    assert kept.payees == set()
