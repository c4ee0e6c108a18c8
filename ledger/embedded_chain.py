"""A chain of one process for development: mines each transaction at once, and an empty block whenever time has passed.

It keeps the rules that matter to a client: recovered senders, strict nonces, fees paid for gas really used, reverts
that cost, older blocks that answer as they did. It is no consensus: block hashes are not those of real headers, there
is no pool (a nonce gap is refused), and two blocks may bear the same second. Nothing here reads a clock by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eth_hash.auto import keccak
from msgspec import Struct

from ledger.create2 import FACTORY, FACTORY_CODE
from ledger.raw_transaction import RawTransaction, read_transaction
from ledger.revm_world import (
    BASE_FEE,
    GAS_LIMIT,
    BlockContext,
    Call,
    EvmAccount,
    Log,
    State,
    charge,
    execute,
)
from market.errors import InvalidRequest

KEPT_BLOCKS = 10_000
"""Older blocks, and the states they had, are forgotten; transactions and logs never are."""
_MAX_CATCH_UP = 600
_INTRINSIC_GAS = 21_000


class Block(Struct, frozen=True, kw_only=True):
    """One block, with the state after it."""

    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    transactions: tuple[bytes, ...]
    gas_used: int
    state: State


class Mined(Struct, frozen=True, kw_only=True):
    """A transaction and what became of it. ``first_log`` is the index in its block of the first of ``logs``."""

    transaction: RawTransaction
    block: Block
    succeeded: bool
    gas_used: int
    gas_price: int
    logs: tuple[Log, ...]
    created: str | None


class EmbeddedChain:
    """The chain itself. Not for use from two threads at once.

    Attributes:
        blocks: by number, from the oldest kept to the newest.
        mined: every transaction by hash, in the order of mining.
    """

    def __init__(
        self, *, chain_id: int, now_s: Callable[[], float], block_time_s: float, funded: Mapping[str, int]
    ) -> None:
        self.chain_id = chain_id
        self.blocks: dict[int, Block] = {}
        self.mined: dict[bytes, Mined] = {}
        self._now_s = now_s
        self._block_time_s = block_time_s
        self._newest = 0
        self._mined_at = now_s()
        genesis: State = {address: EvmAccount(balance=wei) for address, wei in funded.items()}
        # As other development chains do. (Its own transaction is signed for no chain id, and those are refused here.)
        genesis = {**genesis, "0x" + FACTORY.hex(): EvmAccount(nonce=1, code=FACTORY_CODE)}
        self._append(number=0, parent=bytes(32), timestamp=int(now_s()), state=genesis)

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[self._newest]

    def catch_up(self) -> None:
        """Mine the empty blocks that are due by now. After a long sleep of the machine only one, to stay bounded."""
        now = self._now_s()
        if now - self._mined_at > _MAX_CATCH_UP * self._block_time_s:
            self._mined_at = now
            self.mine()
        while now - self._mined_at >= self._block_time_s:
            self._mined_at += self._block_time_s
            self._mine_empty(max(int(self._mined_at), self.head.timestamp))

    def mine(self) -> None:
        """Mine one empty block now."""
        self._mine_empty(self._next_time())

    def send(self, raw: bytes) -> bytes:
        """Check, execute and mine a signed transaction; its hash.

        Raises:
            InvalidRequest: a rule of the chain forbids it; nothing has changed.
        """
        transaction = read_transaction(raw)
        if transaction.hash in self.mined:
            raise InvalidRequest("already known", code="already_known")
        price = self._check(transaction)
        call = Call(transaction.sender, transaction.to, transaction.data, transaction.value, transaction.gas)
        context = BlockContext(self.chain_id, self.head.number + 1, self._next_time())
        outcome = execute(self.head.state, call, context)
        state = charge(outcome.state, transaction.sender, nonce=transaction.nonce, fee=outcome.gas_used * price)
        self._append(
            number=context.number,
            parent=self.head.hash,
            timestamp=context.timestamp,
            state=state,
            transactions=(transaction.hash,),
            gas_used=outcome.gas_used,
        )
        self.mined[transaction.hash] = Mined(
            transaction=transaction,
            block=self.head,
            succeeded=outcome.succeeded,
            gas_used=outcome.gas_used,
            gas_price=price,
            logs=outcome.logs,
            created=outcome.created,
        )
        return transaction.hash

    def account(self, address: str, block: Block | None = None) -> EvmAccount:
        """An account as of a block, the newest unless another is given."""
        return (block or self.head).state.get(address.lower(), EvmAccount())

    def next_context(self) -> BlockContext:
        """The block that would be mined now."""
        return BlockContext(self.chain_id, self.head.number + 1, self._next_time())

    def _check(self, transaction: RawTransaction) -> int:
        """The price per gas that the transaction pays. Raises as :meth:`send`."""
        account = self.account(transaction.sender)
        if transaction.chain_id != self.chain_id:
            raise InvalidRequest(f"signed for chain {transaction.chain_id}", code="wrong_chain")
        if transaction.nonce != account.nonce:
            relation = "low" if transaction.nonce < account.nonce else "high"
            raise InvalidRequest(f"nonce too {relation}: the next is {account.nonce}", code="bad_nonce")
        if not _INTRINSIC_GAS <= transaction.gas <= GAS_LIMIT:
            raise InvalidRequest("gas limit out of range", code="bad_gas")
        if transaction.fee_cap < BASE_FEE or transaction.tip_cap > transaction.fee_cap:
            raise InvalidRequest("fee below the base fee, or tip above the fee", code="bad_fee")
        if account.balance < transaction.gas * transaction.fee_cap + transaction.value:
            raise InvalidRequest("insufficient funds for gas and value", code="gas_short")
        return min(transaction.fee_cap, BASE_FEE + transaction.tip_cap)

    def _next_time(self) -> int:
        return max(int(self._now_s()), self.head.timestamp)

    def _mine_empty(self, timestamp: int) -> None:
        head = self.head
        self._append(number=head.number + 1, parent=head.hash, timestamp=timestamp, state=head.state)

    def _append(
        self,
        *,
        number: int,
        parent: bytes,
        timestamp: int,
        state: State,
        transactions: tuple[bytes, ...] = (),
        gas_used: int = 0,
    ) -> None:
        words = [self.chain_id.to_bytes(8, "big"), number.to_bytes(8, "big"), timestamp.to_bytes(8, "big")]
        self.blocks[number] = Block(
            number=number,
            hash=keccak(parent + b"".join(words) + b"".join(transactions)),
            parent=parent,
            timestamp=timestamp,
            transactions=transactions,
            gas_used=gas_used,
            state=state,
        )
        self._newest = number
        self.blocks.pop(number - KEPT_BLOCKS, None)
