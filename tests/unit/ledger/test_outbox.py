"""What was written down is there after a crash; what ended is not, and its nonce is not used again."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ledger.outbox import MAX_OPEN, Flight, Form, Outbox
from ledger.transaction_signing import KeySigner, UnsignedTransaction
from market.errors import Unavailable
from tests.fakes.memory_journal import MemoryJournal

KEY = KeySigner(b"\x31" * 32)


def outbox_on(journal: MemoryJournal | None, *, chain_id: int = 1) -> Outbox:
    return Outbox(journal, chain_id=chain_id, account=KEY.account, now_ms=lambda: 5)


async def flight(nonce: int, *, fee_cap: int = 100) -> Flight:
    asked = UnsignedTransaction(
        chain_id=1, nonce=nonce, to=b"\x02" * 20, data=b"d", value=2**80, gas=1, fee_cap=fee_cap, tip_cap=1
    )
    signed = await KEY.sign(asked)
    return Flight(nonce=nonce, raw=signed.raw, forms=(Form(hash=signed.hash, fee_cap=fee_cap, tip_cap=1),))


async def restarted(journal: MemoryJournal, *, chain_id: int = 1) -> Outbox:
    outbox = outbox_on(journal.crash(), chain_id=chain_id)
    await outbox.load()
    return outbox


async def test_a_crash_forgets_nothing_that_was_written() -> None:
    journal = MemoryJournal()
    outbox = outbox_on(journal)
    first = await outbox.write(await flight(4))
    dearer = await flight(4, fee_cap=200)
    second = await outbox.write(replace(first, raw=dearer.raw, forms=first.forms + dearer.forms))
    after = await restarted(journal)
    assert after.open() == [second]
    assert after.open()[0].hashes == (dearer.forms[0].hash, first.forms[0].hash)
    assert (after.open()[0].call().data, after.open()[0].call().value) == (b"d", 2**80)
    assert after.next_nonce == 5


@pytest.mark.parametrize(("end", "next_nonce"), [("mined", 5), ("displaced", 5), ("refused", 0)])
async def test_what_ended_is_not_open_and_only_a_refused_nonce_is_used_again(end: str, next_nonce: int) -> None:
    journal = MemoryJournal()
    outbox = outbox_on(journal)
    await outbox.end(await outbox.write(await flight(4)), end)
    for one in (outbox, await restarted(journal)):
        assert one.open() == []
        assert one.get(4) is None
        assert one.next_nonce == next_nonce


async def test_another_chain_s_or_account_s_flights_are_not_ours() -> None:
    journal = MemoryJournal()
    await outbox_on(journal).write(await flight(4))
    assert (await restarted(journal, chain_id=2)).open() == []


async def test_a_full_disk_means_not_written_and_so_not_sent() -> None:
    journal = MemoryJournal()
    journal.full = True
    outbox = outbox_on(journal)
    with pytest.raises(Unavailable):
        await outbox.write(await flight(0))
    assert outbox.open() == []
    await outbox.write(replace(await flight(0), urgent=True))


async def test_an_end_that_cannot_be_written_is_found_out_again_after_a_restart() -> None:
    journal = MemoryJournal()
    outbox = outbox_on(journal)
    written = await outbox.write(await flight(0))
    journal.full = True
    await outbox.end(written, "mined")
    assert outbox.open() == []
    assert len((await restarted(journal)).open()) == 1


async def test_the_ring_never_loses_an_open_flight() -> None:
    outbox = outbox_on(None)
    oldest = await outbox.write(await flight(0))
    with pytest.raises(Unavailable) as full:
        await outbox.write(await flight(MAX_OPEN))
    assert full.value.code == "outbox_full"
    await outbox.end(oldest, "mined")
    await outbox.write(await flight(MAX_OPEN))


async def test_the_table_does_not_grow() -> None:
    journal = MemoryJournal()
    outbox = outbox_on(journal)
    for nonce in range(2 * MAX_OPEN):
        await outbox.end(await outbox.write(await flight(nonce)), "mined")
    assert len(await journal.get_all("sending/")) == MAX_OPEN
    assert (await restarted(journal)).next_nonce == 2 * MAX_OPEN
