"""Hands out the receipts that this node kept, with their originals, and looks up on the chain what they claim."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ledger.ports import Chain, Journal, LaneKey
from market.errors import BrokenInvariant, InvalidRequest
from node.control import Json
from node.lane_history import LaneHistory
from node.lease_board import PREFIX, LeaseBoard, load_board
from node.receipt_lines import LeaseReceipts, kept_receipts, to_json

PIECE = 500
"""Answers in one object: each is read as a line of its own, whose length is bounded."""
MAX_TRANSACTIONS = 64


class ReceiptArchive:
    """All leases of this node, bought and sold.

    Args:
        history: sums of the lanes that our account pays from.
        gpu_of: the model behind a lease.
    """

    def __init__(
        self,
        journal: Journal,
        chain: Chain,
        history: LaneHistory,
        *,
        gpu_of: Callable[[LeaseBoard], Awaitable[str]],
    ) -> None:
        self._journal = journal
        self._chain = chain
        self._history = history
        self._gpu_of = gpu_of

    async def evidence(self, job: str | None = None) -> AsyncIterator[Json]:
        """Leases as ``{"lease": …}``, newest first, each followed by its answers in pieces, ``{"answers": […]}``."""
        for stream in reversed(await self._journal.streams(PREFIX)):
            try:
                board = await load_board(self._journal, stream)
            except BrokenInvariant:
                continue
            if job is not None and job not in (board.job_id, board.lease_id.hex()):
                continue
            kept = kept_receipts(await self._journal.read(stream), gpu=await self._gpu_of(board), passing=board.passing)
            for piece in in_pieces(kept):
                yield piece

    async def on_chain(self, asked: Json) -> Json:
        """What the chain says of a lane, and where transactions succeeded: a :class:`node.receipt_audit.ChainView`.

        Raises:
            InvalidRequest: the lane or a transaction is not one.
            Unavailable: the chain does not answer.
        """
        lane = LaneKey(*(_hex(asked.get(name), 20) for name in ("payer", "payee", "signer")))
        wanted = asked.get("transactions") or []
        if not isinstance(wanted, list) or len(wanted) > MAX_TRANSACTIONS:
            raise InvalidRequest(f"'transactions' are at most {MAX_TRANSACTIONS} hashes", code="invalid_request")
        found = await self._chain.lane(lane)
        view: Json = {
            "chain_id": self._chain.chain_id,
            "escrow": "0x" + self._chain.escrow.hex(),
            "paid": found.claimed,
            "held": found.balance - found.claimed,
            "transactions": await self._mined(wanted),
        }
        if lane.payer == self._chain.account:
            totals = await self._history.totals(lane)
            view |= {"paid": totals.paid, "held": totals.held}
            view |= {"deposited": totals.deposited, "refunded": totals.refunded}
        return view

    async def _mined(self, wanted: list[Any]) -> dict[str, int]:
        blocks: dict[str, int] = {}
        for text in wanted:
            mined = await self._chain.transaction(_hex(text, 32))
            if mined is not None and mined.succeeded:
                blocks[str(text)] = mined.block
        return blocks


def in_pieces(kept: LeaseReceipts) -> list[Json]:
    """One lease as objects of a bounded size."""
    plain = to_json(kept)
    answers = plain.pop("answers")
    return [{"lease": plain}, *({"answers": answers[at : at + PIECE]} for at in range(0, len(answers), PIECE))]


def _hex(text: Any, length: int) -> bytes:
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except (AttributeError, ValueError):
        raw = b""
    if len(raw) != length:
        raise InvalidRequest(f"'{str(text)[:80]}' is not {length} bytes in hex", code="invalid_request")
    return raw
