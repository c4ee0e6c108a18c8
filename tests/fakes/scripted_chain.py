"""A chain of plain transactions, with a pool, forks and gas that gets dear; and an endpoint that loses, delays and
repeats. No threads, so that it runs in virtual time. It knows nothing of contracts: a transaction's data is its effect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import trio
from eth_hash.auto import keccak
from web3.exceptions import ContractLogicError, TransactionNotFound

from ledger.evm_rpc import Answer
from ledger.gas_fees import GWEI
from ledger.raw_transaction import RawTransaction, read_transaction
from market.errors import Unavailable

T = TypeVar("T")
CHAIN_ID = 77
BLOCK_S = 2.0
REVERTS = b"reverts"


class Refused(Exception):
    """What an endpoint answers to bytes it does not take."""


class ScriptedChain:
    """Attributes:
    blocks: the transactions of each block.
    pool: by nonce, of the one account that matters.
    base, tip_needed: what a block takes, wei per gas.
    """

    def __init__(self) -> None:
        self.blocks: list[tuple[RawTransaction, ...]] = [()]
        self.pool: dict[int, RawTransaction] = {}
        self.base = 10 * GWEI
        self.tip_needed = 0
        self.balance = 10**20
        self.seen: list[RawTransaction] = []

    def send(self, raw: bytes) -> bytes:
        """Take a transaction into the pool by the rules that nodes have.

        Raises:
            Refused: nonce used, known already, or a replacement that is not dear enough.
        """
        sent = read_transaction(raw)
        self.seen.append(sent)
        if sent.nonce < self.count():
            raise Refused("nonce too low")
        there = self.pool.get(sent.nonce)
        if there is not None:
            if there.hash == sent.hash:
                raise Refused("already known")
            if sent.fee_cap * 10 < there.fee_cap * 11 or sent.tip_cap * 10 < there.tip_cap * 11:
                raise Refused("replacement transaction underpriced")
        self.pool[sent.nonce] = sent
        return sent.hash

    def mine(self) -> None:
        """Put what the pool has in order, and what pays enough, into a block."""
        taken = []
        while (sent := self.pool.get(self.count() + len(taken))) is not None:
            if sent.fee_cap < self.base + min(self.tip_needed, sent.tip_cap) or sent.tip_cap < self.tip_needed:
                break
            taken.append(sent)
        for sent in taken:
            del self.pool[sent.nonce]
        self.blocks.append(tuple(taken))

    def reorganise(self, depth: int, *, forget: bool) -> None:
        """Another fork wins by a block; what ours had goes back into the pool, or is forgotten."""
        depth = min(depth, len(self.blocks) - 1)
        lost = [sent for block in self.blocks[len(self.blocks) - depth :] for sent in block]
        del self.blocks[len(self.blocks) - depth :]
        for sent in lost:
            if not forget:
                self.pool.setdefault(sent.nonce, sent)
        self.blocks += [()] * (depth + 1)

    def count(self, block: int | None = None) -> int:
        """The account's transactions up to a block."""
        upto = self.blocks if block is None else self.blocks[: block + 1]
        return sum(len(one) for one in upto)

    def effects(self) -> Counter[bytes]:
        """What happened, and how often."""
        return Counter(sent.data for block in self.blocks for sent in block)

    async def run(self) -> None:
        """Mine for ever."""
        while True:
            await trio.sleep(BLOCK_S)
            self.mine()


class _Eth:
    def __init__(self, chain: ScriptedChain) -> None:
        self._chain = chain

    @property
    def block_number(self) -> int:
        return len(self._chain.blocks) - 1

    @property
    def max_priority_fee(self) -> int:
        return GWEI

    def get_block(self, _at: str) -> dict[str, int]:
        return {"number": self.block_number, "baseFeePerGas": self._chain.base}

    def get_balance(self, _account: str) -> int:
        return self._chain.balance

    def get_transaction_count(self, _account: str, at: str | int) -> int:
        if at == "pending":
            count = self._chain.count()
            while count in self._chain.pool:
                count += 1
            return count
        return self._chain.count(None if at == "latest" else int(at))

    def estimate_gas(self, params: dict[str, Any]) -> int:
        if bytes(params["data"]) == REVERTS:
            raise ContractLogicError("reverted")
        return 50_000

    def get_transaction_receipt(self, hash: bytes) -> dict[str, Any]:
        for number, block in enumerate(self._chain.blocks):
            for sent in block:
                if sent.hash == bytes(hash):
                    return {"transactionHash": sent.hash, "blockNumber": number, "status": 1, "gasUsed": 21_000}
        raise TransactionNotFound("not here")

    def get_transaction(self, hash: bytes) -> dict[str, Any]:
        for sent in self._chain.pool.values():
            if sent.hash == bytes(hash):
                return {"hash": sent.hash}
        return self.get_transaction_receipt(hash)

    def send_raw_transaction(self, raw: bytes) -> bytes:
        return self._chain.send(bytes(raw))


class _Web3:
    def __init__(self, chain: ScriptedChain) -> None:
        self.eth = _Eth(chain)


class ScriptedRpc:
    """Stands for ``EvmRpc``. ``before`` and ``after`` are called around each request; what they raise is what the
    asker gets: before, nothing happened; after, the answer is lost. Either may wait. ``repeat`` says of a request
    whether it arrives twice."""

    endpoint = "scripted"

    def __init__(self, chain: ScriptedChain) -> None:
        self.chain = chain
        self.liar: ScriptedChain | None = None
        """While set it is asked first, and the chain only as the second endpoint."""
        self.before: Callable[[], float] = lambda: 0.0
        self.after: Callable[[], float] = lambda: 0.0
        self.repeat: Callable[[], bool] = lambda: False
        self.cut = False

    async def ask(self, question: Callable[[Any], T]) -> T:
        await trio.sleep(self.before())
        self._alive()
        asked = _Web3(self.liar or self.chain)
        try:
            answer = question(asked)
            if self.repeat():
                answer = question(asked)
        except Refused as error:
            await trio.sleep(self.after())
            raise Unavailable(str(error), code="chain_refused") from None
        await trio.sleep(self.after())
        self._alive()
        return answer

    @property
    def several(self) -> bool:
        return self.liar is not None

    async def tell(self, send: Callable[[Any], T]) -> T:
        liar, self.liar = self.liar, None
        try:
            return await self.ask(send)
        finally:
            self.liar = liar

    async def ask_each(self, question: Callable[[Any], T], *, most: int = 2, beside: Sequence[int] = ()) -> list[Any]:
        answers = [Answer(0, await self.ask(question))]
        return [*answers, Answer(1, question(_Web3(self.chain)))] if self.several else answers

    def _alive(self) -> None:
        if self.cut:
            raise Unavailable("cut", code="chain_unreachable")


def tag(number: int) -> bytes:
    """The data of the intended transaction of a number."""
    return keccak(number.to_bytes(8, "big"))[:8]
