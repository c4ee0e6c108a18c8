"""What a key that lies in a running node may sign: nothing but lanes, and only so much a day. Asked before signing.

Whoever gets hold of the machine gets the key, so the signer beside it should be a device that checks the same; until
then this bounds what a faulty program, or a stranger at the node's local API, can move. It reads the transaction
itself: what it does not know, it does not sign.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import trio
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak
from msgspec import Struct

from ledger.artifact import load_artifact
from ledger.ports import Journal
from ledger.transaction_signing import SignedTransaction, TransactionSigner, UnsignedTransaction
from market.codec import pack_record, unpack_record
from market.errors import InvalidRequest

DAY_MS = 24 * 3_600_000
MAX_SPENDINGS = 500
"""Deposits of a day that are remembered one by one; beyond them the oldest are counted together, a little longer."""


class HotKeyRules(Struct, frozen=True, kw_only=True):
    """``daily`` is the most token units that may leave the account in 24 hours, 0 for no bound. ``payouts`` are
    accounts of the owner's that tokens may be paid out to; None: redeemed money may go anywhere, tokens nowhere."""

    escrow: bytes
    token: bytes
    daily: int = 0
    payouts: frozenset[bytes] | None = None


class Spending(Struct, frozen=True, kw_only=True):
    """One signed transaction that takes tokens out of the account."""

    nonce: int
    amount: int
    at_ms: int


class Spendings(Struct, frozen=True, kw_only=True):
    """Those of the last day, oldest first."""

    entries: tuple[Spending, ...] = ()


class HotKeySigner:
    """A signer in front of another one, that refuses what the rules do not allow.

    Args:
        journal: remembers the day's spendings over restarts.
        now_ms: UTC milliseconds.
    """

    def __init__(
        self, signer: TransactionSigner, rules: HotKeyRules, *, journal: Journal, now_ms: Callable[[], int]
    ) -> None:
        self._signer = signer
        self._rules = rules
        self._journal = journal
        self._now_ms = now_ms
        self.account: bytes = signer.account
        self._counting = trio.Lock()

    async def sign(self, transaction: UnsignedTransaction) -> SignedTransaction:
        """As the port.

        Raises:
            InvalidRequest: ``signer_refuses`` or ``deposit_limit``; nothing was signed.
            Unavailable: the journal cannot write.
        """
        amount = tokens_moved(transaction, self._rules, self.account)
        if amount and self._rules.daily:
            key = f"hot-key/{transaction.chain_id}-{self.account.hex()}"
            # One at a time: a new transaction and a higher fee for an older one may be signed at the same moment.
            async with self._counting:
                raw = await self._journal.get(key)
                before = unpack_record(raw, Spendings) if raw is not None else Spendings()
                now = Spending(nonce=transaction.nonce, amount=amount, at_ms=self._now_ms())
                # Written down before it is signed: after a crash it counts, signed or not.
                await self._journal.append([], {key: pack_record(spend(before, now, self._rules.daily))})
        return await self._signer.sign(transaction)


def spend(before: Spendings, now: Spending, daily: int) -> Spendings:
    """The spendings with one more. Of one nonce only the largest counts, as only one of its forms can happen.

    Raises:
        InvalidRequest: ``deposit_limit``.
    """
    same = [one.amount for one in before.entries if one.nonce == now.nonce]
    now = Spending(nonce=now.nonce, amount=max(now.amount, *same, 0), at_ms=now.at_ms)
    recent = [one for one in before.entries if one.nonce != now.nonce and one.at_ms > now.at_ms - DAY_MS]
    spent = sum(one.amount for one in recent)
    if spent + now.amount > daily:
        raise InvalidRequest(
            f"{now.amount} units would pass the day's limit of {daily}: {spent} left the account in the last 24 hours",
            code="deposit_limit",
            fix="wait, or raise deposit_limit under [chain]",
        )
    if len(recent) >= MAX_SPENDINGS:
        first, second, *rest = recent
        recent = [Spending(nonce=second.nonce, amount=first.amount + second.amount, at_ms=second.at_ms), *rest]
    return Spendings(entries=(*recent, now))


def tokens_moved(transaction: UnsignedTransaction, rules: HotKeyRules, account: bytes) -> int:
    """How many token units of ``account`` a transaction can take into the escrow.

    Raises:
        InvalidRequest: ``signer_refuses``: it can do something else than that.
    """
    if transaction.to == account and not transaction.data and not transaction.value:
        return 0  # Uses up a nonce, moves nothing.
    if transaction.value:
        raise _refusal("sends the chain's own coin")
    if transaction.to == rules.token:
        name, values = _call_of("TestToken", transaction.data)
        if name == "transfer" and rules.payouts is not None and _account(values[0]) in rules.payouts:
            return 0
        if name != "approve" or _account(values[0]) != rules.escrow:
            raise _refusal("moves tokens elsewhere than into the escrow")
        return 0
    if transaction.to != rules.escrow:
        raise _refusal("calls a contract that is not the escrow")
    name, values = _call_of("Escrow", transaction.data)
    if name not in _MOVES:
        raise _refusal(f"calls {name}")
    return _MOVES[name](values, rules, account)


def _own_deposit(values: Any, _rules: HotKeyRules, account: bytes) -> int:
    # The money goes back to the payer that is named, so another one's lane would be a gift to it.
    if _account(values[0]) != account:
        raise _refusal("fills somebody else's lane")
    return int(values[3])


def _deposit_many(values: Any, _rules: HotKeyRules, account: bytes) -> int:
    if any(_account(row[0]) != account for row in values[0]):
        raise _refusal("fills somebody else's lane")
    return sum(int(row[3]) for row in values[0])


def _payout(values: Any, rules: HotKeyRules, account: bytes) -> int:
    if rules.payouts is not None and _account(values[0]) not in rules.payouts | {account}:
        raise _refusal("pays what was earned to a stranger")
    return 0


def _authorized(values: Any, _rules: HotKeyRules, account: bytes) -> int:
    # With the tokens of the payer that signed; with ours only when that is ourselves.
    return int(values[3]) if _account(values[0]) == account else 0


def _nothing(_values: Any, _rules: HotKeyRules, _account: bytes) -> int:
    return 0


_MOVES: dict[str, Callable[[Any, HotKeyRules, bytes], int]] = {
    "deposit": _own_deposit,
    "depositWithPermit": _own_deposit,
    "depositWithAuthorization": _authorized,
    "depositMany": _deposit_many,
    "addStake": lambda values, _rules, _account: int(values[0]),
    "redeemManyTo": _payout,
    **dict.fromkeys(
        (
            "redeemMany",
            "startExit",
            "cancelExit",
            "finishExit",
            "closeTogether",
            "release",
            "leaveStake",
            "takeStake",
            "slashEquivocation",
        ),
        _nothing,
    ),
}


def _call_of(contract: str, data: bytes) -> tuple[str, Any]:
    found = _functions(contract).get(data[:4])
    if found is None:
        raise _refusal("calls what it does not know")
    name, types = found
    try:
        return name, decode(types, data[4:])
    except (DecodingError, ValueError, OverflowError) as error:
        raise _refusal(f"calls {name} with bad arguments") from error


@cache
def _functions(contract: str) -> dict[bytes, tuple[str, list[str]]]:
    found = {}
    for entry in load_artifact(contract).abi:
        if entry["type"] == "function":
            types = [_type_of(one) for one in entry["inputs"]]
            found[keccak(f"{entry['name']}({','.join(types)})".encode())[:4]] = (str(entry["name"]), types)
    return found


def _type_of(argument: dict[str, Any]) -> str:
    kind = str(argument["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_type_of(one) for one in argument['components'])}){kind.removeprefix('tuple')}"


def _account(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _refusal(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"the node's key does not sign a transaction that {why}",
        code="signer_refuses",
        fix="do it with the wallet's own key, away from the node",
    )
