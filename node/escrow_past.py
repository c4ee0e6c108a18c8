"""The transactions behind what our journal saw others do: deposits and closes on lanes that pay us, redemptions of
lanes we pay from. The escrow's events carry them; they are read once, when somebody asks, and kept.

Nothing is decided by them: a line whose transaction is not found, or could be one of several, is told without one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import trio
from msgspec import Struct

from ledger.chain_watcher import lane_of
from ledger.lane_facts import MAX_BOOKED
from ledger.ports import Chain, Journal, LaneKey, LedgerEvent, NewEntry
from market.codec import pack_record, unpack_record
from node.lane_log import DEPTH, SPAN
from node.wallet_shapes import WalletLine

PATIENCE_S = 10.0
"""How long one question may read on; the next one goes on from there."""
MAX_STRANGE = 4_096
"""Events kept of lanes in our name that our books do not know (yet): anybody can make those, for the price of gas."""
_KIND = "EscrowMove"
_EVENTS = {"deposit": ("Deposited",), "close": ("LaneClosed", "Released"), "exit": ("LaneClosed",)}


class EscrowMove(Struct, frozen=True, kw_only=True):
    """One movement of money. ``lane`` is None for a redemption, which names ``payee`` only; ``units`` went in, back to
    the payer, or out to the provider."""

    payee: bytes
    kind: str
    units: int
    transaction: bytes
    block: int
    lane: LaneKey | None = None


class EscrowPast:
    """What moved on our lanes, in the order of the chain.

    Args:
        start_block: first block that can hold an event of ours.
    """

    def __init__(self, chain: Chain, journal: Journal, *, start_block: int) -> None:
        self._chain = chain
        self._journal = journal
        self._start_block = start_block
        self._root = f"escrowpast/{chain.chain_id}-{chain.escrow.hex()}-{chain.account.hex()}"
        self._turn = trio.StrictFIFOLock()

    async def moves(self, lanes: Collection[LaneKey]) -> list[EscrowMove]:
        """All moves that concern ``lanes``, as far as was read, oldest first.

        Raises:
            Unavailable: the chain does not answer, or the journal cannot write.
        """
        async with self._turn:
            raw = await self._journal.get(self._root)
            place = int.from_bytes(raw, "big") if raw is not None else self._start_block
            kept = [unpack_record(one.body, EscrowMove) for one in await self._journal.read(self._root)]
            head, until = (await self._chain.head()).number, trio.current_time() + PATIENCE_S
            known, payees = set(lanes), {lane.payee for lane in lanes}
            newest: list[EscrowMove] = []
            for first in range(place, head + 1, SPAN):
                last = min(first + SPAN - 1, head)
                events = sorted(await self._chain.events(first, last), key=lambda one: (one.block, one.index))
                found = [move for one in events if (move := _read(one)) is not None]
                ours = [one for one in found if self._concerns_us(one, known, payees, room=len(kept) < MAX_STRANGE)]
                deep = max(min(last, head - DEPTH) + 1, first)  # what a reorg may take back is read again
                kept += await self._keep([one for one in ours if one.block < deep], first, deep)
                newest += [one for one in ours if one.block >= deep]
                if trio.current_time() > until:
                    break
            return kept + newest

    def _concerns_us(self, move: EscrowMove, known: set[LaneKey], payees: set[bytes], *, room: bool) -> bool:
        if move.lane is None:
            return move.payee in payees or move.payee == self._chain.account
        return move.lane in known or (room and self._chain.account in (move.lane.payer, move.lane.payee))

    async def _keep(self, moves: list[EscrowMove], place: int, next_block: int) -> list[EscrowMove]:
        if next_block <= place:
            return []
        entries = [NewEntry(stream=self._root, kind=_KIND, at_ms=0, body=pack_record(one)) for one in moves]
        await self._journal.append(entries, {self._root: next_block.to_bytes(8, "big")})
        return moves


def name_transactions(lane: LaneKey, lines: Iterable[WalletLine], moves: Sequence[EscrowMove]) -> None:
    """Give the lines of one lane, oldest first, the transactions that our own journal does not know. Pure.

    A deposit or close is taken when its lane and sum agree. Redemptions do not say whose lane they drew from: one is
    taken only if it is the provider's single one of just this sum.
    """
    lines = list(lines)
    told = {line["transaction"] for line in lines}
    rest = [one for one in moves if "0x" + one.transaction.hex() not in told]
    for line in lines:
        if line["transaction"] is not None or not line["ok"]:
            continue
        found = _find(lane, line, rest)
        if found is not None:
            rest.remove(found)
            line["transaction"], line["block"] = "0x" + found.transaction.hex(), found.block


def _find(lane: LaneKey, line: WalletLine, moves: Sequence[EscrowMove]) -> EscrowMove | None:
    if line["kind"] == "redeem" and line["amount"]:
        sum_ = line["amount"]["units"]
        fits = [one for one in moves if one.lane is None and (one.payee, one.units) == (lane.payee, sum_)]
        return fits[0] if len(fits) == 1 else None
    moved = line["amount"] if line["kind"] == "deposit" else line["returned"]
    kinds = _EVENTS.get(line["kind"], ())
    if moved is None:
        return None
    return next((one for one in moves if (one.lane, one.units) == (lane, moved["units"]) and one.kind in kinds), None)


def _read(event: LedgerEvent) -> EscrowMove | None:
    said, lane = event.arguments, lane_of(event)
    payee = said.get("provider")
    name = {"Deposited": "amount", "LaneClosed": "toPayer", "Released": "toPayer", "Redeemed": "paid"}.get(event.kind)
    units = said.get(name) if name else None
    if not isinstance(payee, bytes) or not isinstance(units, int) or (lane is None and event.kind != "Redeemed"):
        return None
    return EscrowMove(
        payee=payee,
        kind=event.kind,
        units=min(max(units, 0), MAX_BOOKED),
        transaction=event.transaction,
        block=event.block,
        lane=lane,
    )
