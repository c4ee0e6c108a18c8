"""The transactions of others on our lanes: found in the escrow's log, told only where they cannot be another's."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from ledger.ports import ChainHead, LaneKey, LedgerEvent
from node import escrow_past
from node.escrow_past import EscrowMove, EscrowPast, name_transactions
from node.lane_log import DEPTH
from tests.fakes.memory_journal import MemoryJournal

US = b"u" * 20
LANE = LaneKey(payer=b"p" * 20, payee=US, signer=b"s" * 20)
PAYING = LaneKey(payer=US, payee=b"q" * 20, signer=b"s" * 20)
OTHERS = LaneKey(payer=b"x" * 20, payee=b"y" * 20, signer=b"z" * 20)


def an_event(kind: str, block: int, lane: LaneKey | None = LANE, **arguments: Any) -> LedgerEvent:
    names = {"payer": lane.payer, "provider": lane.payee, "signer": lane.signer} if lane else {}
    said = names | arguments
    return LedgerEvent(kind=kind, block=block, index=0, transaction=bytes([block % 256]) * 32, arguments=said)


class LongChain:
    """Remembers what it was asked for."""

    chain_id, escrow, account = 7, b"e" * 20, US

    def __init__(self, height: int, events: list[LedgerEvent]) -> None:
        self.height, self.all = height, events
        self.asked: list[tuple[int, int]] = []

    async def head(self) -> ChainHead:
        return ChainHead(number=self.height, hash=bytes(32), timestamp=0)

    async def events(self, first: int, last: int) -> list[LedgerEvent]:
        self.asked.append((first, last))
        return [event for event in self.all if first <= event.block <= last]


def past_of(chain: Any, journal: MemoryJournal) -> EscrowPast:
    return EscrowPast(chain, journal, start_block=17)


def a_line(kind: str, *, amount: int | None = None, returned: int | None = None, **more: Any) -> Any:
    sums = {
        name: None if value is None else {"units": value}
        for name, value in (("amount", amount), ("returned", returned))
    }
    return {"kind": kind, "transaction": None, "block": None, "ok": True, **sums, **more}


def a_move(kind: str, units: int, block: int, lane: LaneKey | None = LANE, payee: bytes = US) -> EscrowMove:
    return EscrowMove(payee=payee, kind=kind, units=units, transaction=bytes([block]) * 32, block=block, lane=lane)


def blocks(lane: LaneKey, lines: list[Any], moves: list[EscrowMove]) -> list[int | None]:
    name_transactions(lane, lines, moves)
    return [line["block"] for line in lines]


async def test_the_log_is_read_once_and_only_its_newest_blocks_again(autojump_clock: MockClock) -> None:
    deposit, close = an_event("Deposited", 20, amount=9), an_event("LaneClosed", 12_000, toPayer=4)
    strange = [an_event("Deposited", 30, OTHERS, amount=9), an_event("Deposited", 31, amount="many")]
    draws = [
        an_event("Redeemed", 40 + n, None, provider=one, paid=5) for n, one in enumerate((US, b"q" * 20, b"y" * 20))
    ]
    chain, journal = (
        LongChain(12_000, [deposit, close, *strange, *draws, an_event("ExitStarted", 50, exitAt=1)]),
        MemoryJournal(),
    )
    found = await past_of(chain, journal).moves([LANE, PAYING])
    assert [(one.kind, one.block) for one in found] == [
        ("Deposited", 20), ("Redeemed", 40), ("Redeemed", 41), ("LaneClosed", 12_000),
    ]  # fmt: skip
    chain.asked.clear()
    assert await past_of(chain, journal).moves([LANE, PAYING]) == found
    assert chain.asked == [(12_001 - DEPTH, 12_000)]


async def test_a_reorg_of_the_newest_blocks_leaves_no_trace(autojump_clock: MockClock) -> None:
    chain, journal = LongChain(1_000, [an_event("Deposited", 999, amount=9)]), MemoryJournal()
    assert len(await past_of(chain, journal).moves([LANE])) == 1
    chain.all = []
    assert await past_of(chain, journal).moves([LANE]) == []


async def test_lanes_that_strangers_open_in_our_name_take_bounded_room(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(escrow_past, "MAX_STRANGE", 0)
    made_up = LaneKey(payer=b"m" * 20, payee=US, signer=b"m" * 20)
    chain = LongChain(1_000, [an_event("Deposited", 20, made_up, amount=1), an_event("Deposited", 21, amount=2)])
    found = await past_of(chain, MemoryJournal()).moves([LANE])
    assert [one.units for one in found] == [2]


def test_deposits_and_closes_are_found_by_their_lane_and_sum() -> None:
    lines = [a_line("deposit", amount=9), a_line("deposit", amount=9), a_line("close", amount=5, returned=4)]
    moves = [
        a_move("Deposited", 9, 1, OTHERS),
        a_move("Deposited", 9, 2),
        a_move("Deposited", 9, 3),
        a_move("LaneClosed", 4, 4),
    ]
    assert blocks(LANE, lines, moves) == [2, 3, 4]
    assert [line["transaction"][:4] for line in lines] == ["0x02", "0x03", "0x04"]


def test_what_does_not_agree_is_left_alone() -> None:
    lines = [a_line("deposit", amount=18), a_line("deposit", amount=9, ok=False), a_line("vouchers", amount=9)]
    assert blocks(LANE, lines, [a_move("Deposited", 9, 1), a_move("LaneClosed", 18, 2)]) == [None, None, None]


def test_what_we_sent_ourselves_is_nobody_elses() -> None:
    own = a_line("deposit", amount=9, transaction="0x" + "01" * 32)
    assert blocks(LANE, [own, a_line("deposit", amount=9)], [a_move("Deposited", 9, 1), a_move("Deposited", 9, 2)]) == [
        None,
        2,
    ]


def test_a_redemption_is_told_only_when_it_cannot_be_another() -> None:
    one, two = (a_move("Redeemed", 5, block, None, PAYING.payee) for block in (1, 2))
    assert blocks(PAYING, [a_line("redeem", amount=5)], [one]) == [1]
    assert blocks(PAYING, [a_line("redeem", amount=5)], [one, two]) == [None]
    assert blocks(PAYING, [a_line("redeem", amount=6)], [one]) == [None]
    assert blocks(LANE, [a_line("redeem", amount=5)], [one]) == [None]
