"""The transactions of one account: signed, sent in the order of their nonces, paid for within a cap, and seen
through.

A transaction that is not mined is sent again with the same nonce and a higher fee, so of all its forms at
most one ever happens. A lost answer is not a failure: the same bytes are sent until the chain says what
became of them. The secret key stays in here and is never printed.
"""

from __future__ import annotations

from functools import partial

import trio
from eth_account import Account
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from msgspec import Struct
from web3 import Web3
from web3.exceptions import ContractLogicError, TransactionNotFound
from web3.types import TxParams, Wei

from ledger.evm_reader import mined
from ledger.evm_rpc import EvmRpc
from ledger.ports import Transaction
from market.errors import InvalidRequest, Unavailable

NOT_SENT = bytes(32)
"""The hash of a transaction that the contract refused before it was sent: nothing was spent."""
_MISSES_ALLOWED = 3
_NONCE_RACES = 10


class SendPolicy(Struct, frozen=True, kw_only=True):
    """How hard to try. ``confirmations`` are blocks on top of the transaction's own.

    ``fee_cap_wei`` bounds what a unit of gas may cost us; ``bump_after_s`` is the patience with a fee before
    it is raised, ``patience_s`` that with a chain that does not answer in the middle of a send.
    """

    confirmations: int = 1
    poll_ms: int = 500
    fee_cap_wei: int = 500 * 10**9
    bump_after_s: float = 30.0
    patience_s: float = 60.0


class _Fee(Struct, frozen=True):
    most: int
    tip: int


class _Flight(Struct):
    """A transaction on its way: one nonce, and the hashes of every form it was sent in."""

    params: TxParams
    nonce: int
    fee: _Fee
    raw: bytes = b""
    hashes: tuple[bytes, ...] = ()


class EvmSender:
    """Sends for one account. Many tasks may send at once; nonces are handed out one at a time.

    Attributes:
        account: the sending account, 20 bytes.
    """

    def __init__(self, rpc: EvmRpc, secret: bytes, *, chain_id: int, policy: SendPolicy) -> None:
        self._rpc = rpc
        self._signer = Account.from_key(secret)
        self._chain_id = chain_id
        self._policy = policy
        self._nonce_lock = trio.Lock()
        self.account: bytes = bytes.fromhex(self._signer.address[2:])

    async def send(
        self, to: bytes | None, data: bytes, *, value: int = 0, confirmations: int | None = None
    ) -> Transaction:
        """Send a call (or, without ``to``, deploy ``data``) and wait until it is mined and confirmed.

        ``succeeded`` is False when the contract refused; with the hash :data:`NOT_SENT` it did so before
        anything was sent.

        Raises:
            InvalidRequest: ``gas_short``: the account cannot pay for the gas. Unavailable: the chain is
            silent, refuses, or is dearer than the cap. Whether the transaction will still
                happen is not known then: look at what it was to change before sending it again.
        """
        params: TxParams = {"from": self._signer.address, "data": HexBytes(data), "value": Wei(value)}
        if to is not None:
            params["to"] = to_checksum_address(to)
        try:
            gas = await self._rpc.ask(lambda web3: web3.eth.estimate_gas(params))
        except ContractLogicError:
            head = await self._rpc.ask(lambda web3: int(web3.eth.block_number))
            return Transaction(hash=NOT_SENT, block=head, succeeded=False, gas_used=0)
        # Room for what other transactions may change between this estimate and the block.
        params["gas"] = gas + gas // 4
        async with self._nonce_lock:
            flight = await self._prepare(params)
            for _ in range(_NONCE_RACES):
                if await self._launch(flight):
                    break
                flight = await self._prepare(params)
            else:
                raise Unavailable("the account's transactions are sent from too many places", code="nonce_race")
        wanted = self._policy.confirmations if confirmations is None else confirmations
        return await self._follow(flight, wanted)

    async def unmined(self) -> int:
        """How many transactions of the account wait in the pool. May be too high for a moment, never too low."""

        def question(web3: Web3) -> int:
            mined_before = web3.eth.get_transaction_count(self._signer.address, "latest")
            return max(0, web3.eth.get_transaction_count(self._signer.address, "pending") - mined_before)

        return await self._rpc.ask(question)

    async def _prepare(self, params: TxParams) -> _Flight:
        def question(web3: Web3) -> tuple[int, int, int, int]:
            base = int(web3.eth.get_block("latest").get("baseFeePerGas", 0))
            balance = web3.eth.get_balance(self._signer.address)
            return base, int(web3.eth.max_priority_fee), _next_nonce(web3, account=self._signer.address), balance

        base, tip, nonce, balance = await self._rpc.ask(question)
        cap = self._policy.fee_cap_wei
        if base + tip > cap:
            raise Unavailable(f"gas costs {base + tip} wei, more than the cap of {cap}", code="fees_too_high")
        fee = _Fee(most=min(2 * base + tip, cap), tip=tip)
        if balance < params["gas"] * fee.most + params["value"]:
            raise InvalidRequest(
                f"the account {self._signer.address} cannot pay for gas",
                code="gas_short",
                fix="send it some of the chain's own coin",
            )
        return _Flight(params, nonce, fee)

    async def _launch(self, flight: _Flight) -> bool:
        """Get the first form of a transaction accepted. The same bytes go out until there is an answer to them.

        Returns False when another sender of the same account, such as a second program, was quicker with the nonce.
        """
        self._sign(flight)
        give_up = trio.current_time() + self._policy.patience_s
        an_answer_was_lost = False
        while True:
            try:
                await self._rpc.tell(lambda web3: web3.eth.send_raw_transaction(flight.raw))
                return True
            except Unavailable as error:
                if error.code == "chain_refused":
                    # Known already: ours, if an earlier try may have got through. Else another sender's that is equal
                    # to the last bit, and to take it for ours would count one payment twice.
                    if an_answer_was_lost and await self._rpc.ask(partial(_knows, hash=flight.hashes[0])):
                        return True
                    if await self._rpc.ask(partial(_next_nonce, account=self._signer.address)) > flight.nonce:
                        return False
                    raise
                if trio.current_time() > give_up:
                    raise
                an_answer_was_lost = True
            await self._pause()

    async def _follow(self, flight: _Flight, confirmations: int) -> Transaction:
        bump_at = trio.current_time() + self._policy.bump_after_s
        heard_at = trio.current_time()
        misses = 0
        while True:
            try:
                found, head, next_nonce = await self._rpc.ask(
                    partial(_look, account=self._signer.address, hashes=flight.hashes)
                )
            except Unavailable:
                if trio.current_time() - heard_at > self._policy.patience_s:
                    raise
                await self._pause()
                continue
            heard_at = trio.current_time()
            if found is not None and head >= found.block + confirmations:
                return found
            misses = misses + 1 if found is None and next_nonce > flight.nonce else 0
            if misses >= _MISSES_ALLOWED:
                raise Unavailable("another transaction of the account took this one's place", code="displaced")
            if found is None and heard_at >= bump_at:
                await self._send_again(flight)
                bump_at = heard_at + self._policy.bump_after_s
            await self._pause()

    async def _send_again(self, flight: _Flight) -> None:
        """Raise the fee by a quarter (nodes ask for a tenth at least) within the cap, and send once more."""
        raised = _Fee(most=flight.fee.most * 5 // 4 + 1, tip=flight.fee.tip * 5 // 4 + 1)
        if raised.most <= self._policy.fee_cap_wei:
            flight.fee = raised
            self._sign(flight)
        try:
            await self._rpc.tell(lambda web3: web3.eth.send_raw_transaction(flight.raw))
        except Unavailable:
            # Mined meanwhile, known already, or the chain is away: the next look tells which.
            return

    def _sign(self, flight: _Flight) -> None:
        signed = self._signer.sign_transaction(
            {
                **{name: value for name, value in flight.params.items() if name != "from"},
                "type": 2,
                "chainId": self._chain_id,
                "nonce": flight.nonce,
                "maxFeePerGas": flight.fee.most,
                "maxPriorityFeePerGas": flight.fee.tip,
            }
        )
        flight.raw = bytes(signed.raw_transaction)
        flight.hashes = (*flight.hashes, bytes(signed.hash))

    async def _pause(self) -> None:
        await trio.sleep(self._policy.poll_ms / 1000)


def _next_nonce(web3: Web3, *, account: str) -> int:
    # "latest" may lag behind a transaction that was accepted a moment ago.
    return web3.eth.get_transaction_count(to_checksum_address(account), "pending")


def _knows(web3: Web3, *, hash: bytes) -> bool:
    try:
        web3.eth.get_transaction(HexBytes(hash))
    except TransactionNotFound:
        return False
    return True


def _look(web3: Web3, *, account: str, hashes: tuple[bytes, ...]) -> tuple[Transaction | None, int, int]:
    # The count first: when it already covers our nonce, the receipt that is asked for after it must be there.
    next_nonce = web3.eth.get_transaction_count(to_checksum_address(account), "latest")
    found = None
    for hash in hashes:
        try:
            found = mined(web3.eth.get_transaction_receipt(HexBytes(hash)))
        except TransactionNotFound:
            continue
    return found, int(web3.eth.block_number), next_nonce
