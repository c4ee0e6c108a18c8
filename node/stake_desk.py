"""The stake of a provider: what it stands to lose when it signs two statements that contradict each other."""

from __future__ import annotations

from typing import Any

import msgspec

from ledger.ports import Contradiction, NewEntry, Transaction
from ledger.voucher import Domain
from market.errors import InvalidRequest, PeerFault, Unavailable
from market.money import parse_tokens
from node.account_text import read_account
from node.control import money, rfc3339
from node.equivocation_file import proof_of
from node.trading import World
from node.wallet_shapes import StakeChange, StakeView, WalletLine

_STREAM = "stake"
_NEVER_SENT = bytes(32)


class StakeNote(msgspec.Struct, frozen=True, kw_only=True):
    """What was done about stake: before it is sent without ``transaction``, after with it."""

    what: str
    amount: int
    provider: bytes
    transaction: bytes = b""
    block: int = 0
    ok: bool = False


class StakeDesk:
    """Verbs about stake on the node's chain."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def stake(self, provider: str = "") -> StakeView:
        account = read_account(provider) if provider else self._world.chain.account
        found = await self._world.chain.stake_of(account)
        now_s = (await self._world.chain.head()).timestamp
        return {
            "provider": "0x" + account.hex(),
            "amount": money(found.amount),
            "unlock_at": rfc3339(found.unlock_at * 1000) if found.unlock_at else None,
            "can_take": bool(found.amount and found.unlock_at and now_s >= found.unlock_at),
        }

    async def add_stake(self, amount: str) -> StakeChange:
        units = parse_tokens(amount)
        if units <= 0:
            raise InvalidRequest("the amount is zero", code="bad_amount", fix="give tokens, such as 50")
        await self._refuse_in_flight()
        return await self._change("add", units)

    async def leave_stake(self) -> StakeChange:
        found = await self._world.chain.stake_of(self._world.chain.account)
        if not found.amount:
            raise InvalidRequest("nothing is staked", code="nothing_staked", fix="cfab stake add AMOUNT")
        if found.unlock_at:
            when = rfc3339(found.unlock_at * 1000)
            raise InvalidRequest("the stake is leaving already", code="stake_leaving", fix=f"take it from {when} on")
        return await self._change("leave", found.amount)

    async def take_stake(self) -> StakeChange:
        view = await self.stake()
        if not view["can_take"]:
            fix = f"wait until {view['unlock_at']}" if view["unlock_at"] else "cfab stake leave"
            raise InvalidRequest("there is no stake that can be taken now", code="stake_locked", fix=fix)
        return await self._change("take", view["amount"]["units"])

    async def slash(self, proof: dict[str, Any]) -> StakeChange:
        contradiction = _for_here(proof, Domain(self._world.chain.chain_id, self._world.chain.escrow))
        provider = contradiction.provider
        if not (await self._world.chain.stake_of(provider)).amount:
            raise InvalidRequest("this provider has no stake to lose", code="nothing_staked")
        return await self._change("slash", 0, contradiction)

    async def stake_lines(self) -> list[WalletLine]:
        """What was done about stake, for the wallet's history, oldest first."""
        lines: list[WalletLine] = []
        for entry in await self._world.journal.read(_STREAM):
            note = msgspec.msgpack.decode(entry.body, type=StakeNote)
            if note.transaction and lines:
                lines.pop()
            lines.append(
                {
                    "time": rfc3339(entry.at_ms),
                    "kind": f"stake_{note.what}",
                    "side": "own",
                    "account": "0x" + note.provider.hex(),
                    "lease": None,
                    "amount": money(note.amount),
                    "returned": None,
                    "transaction": "0x" + note.transaction.hex() if any(note.transaction) else None,
                    "block": note.block or None,
                    "ok": note.ok if note.transaction else None,
                }
            )
        return lines

    async def _refuse_in_flight(self) -> None:
        """A stake whose answer was lost must not be paid twice: nothing is sent while anything of ours may still come.

        (Not foolproof for a stake that is asked for again by hand: the owner sees ``cfab stake show`` first.)
        """
        if await self._world.chain.unmined():
            raise Unavailable("a transaction of this account is still on its way", code="transaction_pending")

    async def _change(self, what: str, amount: int, proof: Contradiction | None = None) -> StakeChange:
        chain = self._world.chain
        note = StakeNote(what=what, amount=amount, provider=proof.provider if proof else chain.account)
        await self._note(note)
        try:
            mined = await self._send(what, amount, proof)
        except InvalidRequest:
            # Nothing was sent, and the history must not wait for it.
            await self._note(msgspec.structs.replace(note, transaction=_NEVER_SENT))
            raise
        await self._note(_done(note, mined))
        if not mined.succeeded:
            raise InvalidRequest(
                f"the escrow refused to {what}", code="stake_refused", fix="'cfab stake show' tells how it stands"
            )
        view = await self.stake("0x" + note.provider.hex())
        return {"transaction": "0x" + mined.hash.hex(), "stake": view}

    async def _send(self, what: str, amount: int, proof: Contradiction | None) -> Transaction:
        chain = self._world.chain
        if proof is not None:
            return await chain.slash_equivocation(proof)
        if what == "add":
            return await chain.add_stake(amount)
        return await (chain.leave_stake() if what == "leave" else chain.take_stake())

    async def _note(self, note: StakeNote) -> None:
        body = msgspec.msgpack.encode(note)
        entry = NewEntry(stream=_STREAM, kind="StakeNote", at_ms=self._world.clock.now_ms(), body=body)
        await self._world.journal.append([entry])


def _for_here(content: dict[str, Any], here: Domain) -> Contradiction:
    """What a proof file proves to our escrow: a wrong one would cost gas for nothing.

    Raises:
        InvalidRequest: ``bad_proof``.
    """
    fix = "give the file that 'cfab receipts prove -o FILE' wrote"
    try:
        domain, contradiction = proof_of(content)
    except (InvalidRequest, PeerFault) as error:
        raise InvalidRequest(
            f"that is no proof of a contradiction: {error.message}", code="bad_proof", fix=fix
        ) from None
    if domain != here:
        where = f"the escrow 0x{domain.escrow.hex()} on chain {domain.chain_id}"
        raise InvalidRequest(f"the proof is for {where}, not for ours", code="bad_proof", fix="use a node of that one")
    return contradiction


def _done(note: StakeNote, mined: Transaction) -> StakeNote:
    # A transaction that was foreseen to fail was not sent; its hash of zeros still tells that the answer is known.
    return msgspec.structs.replace(note, transaction=mined.hash, block=mined.block, ok=mined.succeeded)
