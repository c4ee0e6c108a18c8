"""The ``Chain`` port on a real EVM chain: the reading half of ``evm_reader`` plus one account that sends.

This is glue and holds no rule of its own: what may be sent, and when, is decided by ``payer`` and ``payee``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from eth_utils.address import to_checksum_address
from msgspec import Struct
from web3 import Web3

from ledger.beside import running_beside
from ledger.create2 import MAX_STEPS
from ledger.evm_agreement import no_lane
from ledger.evm_flights import SendingView
from ledger.evm_reader import EvmReader, check_escrow, checksummed, escrow_at, token_at
from ledger.evm_rpc import EndpointView, EvmRpc, open_evm_rpc
from ledger.evm_sender import EvmSender, SendPolicy
from ledger.hot_key import HotKeyRules, HotKeySigner
from ledger.outbox import Outbox
from ledger.ports import Contradiction, Journal, LaneDeposit, LaneKey, Transaction
from ledger.transaction_signing import KeySigner, TransactionSigner
from ledger.voucher import SIGNATURE_BYTES
from market.errors import InvalidRequest

_ANY_AMOUNT = 2**256 - 1


class ChainHealth(Struct, frozen=True, kw_only=True):
    """The way to the chain: each endpoint, how often they contradicted each other and in what, and what is unmined."""

    endpoints: tuple[EndpointView, ...]
    disputes: int
    last_dispute: str
    sending: SendingView


class EvmChain(EvmReader):
    """One account's view of the escrow, reading and sending. Make one with :func:`open_evm_chain`.

    Every sending call returns once its transaction is mined and confirmed; ``succeeded`` is False when the
    contract refused it. See ``EvmSender.send`` for what may be raised.
    """

    def __init__(self, rpc: EvmRpc, reader: EvmReader, sender: EvmSender) -> None:
        super().__init__(
            rpc,
            chain_id=reader.chain_id,
            escrow=reader.escrow,
            token=reader.token,
            terms=reader.terms,
        )
        self._sender = sender
        # Only to encode calls: it is never asked to reach a chain.
        self._escrow_contract = escrow_at(Web3(), reader.escrow)
        self._token_contract = token_at(Web3(), reader.token)

    @property
    def account(self) -> bytes:
        """The account that sends and whose tokens are deposited."""
        return self._sender.account

    async def deposit(self, payee: bytes, signer: bytes, amount: int) -> Transaction:
        """Fund our own lane. The first deposit also approves the escrow, once and for all.

        Raises:
            InvalidRequest: ``tokens_short``: the account holds fewer tokens than ``amount``.
        """
        # A lane that one endpoint shows emptier than it is would be filled up for nothing.
        await self._read_lane(LaneKey(self.account, payee, signer), 0, no_lane)
        return await self._pay("deposit", amount, *self._own_lane(payee, signer), amount)

    async def deposit_many(self, deposits: Sequence[LaneDeposit]) -> Transaction:
        """Fund several lanes with one transfer: all of them or none. Approves as :meth:`deposit` does.

        Raises:
            InvalidRequest: ``tokens_short``, or ``exit_delay``: a delay that is no whole number of steps.
        """
        rows = [(*checksummed(one.lane), one.amount, self._steps(one.delay_s)) for one in deposits]
        return await self._pay("depositMany", sum(one.amount for one in deposits), rows)

    async def deposit_with_permit(
        self, payee: bytes, signer: bytes, amount: int, *, deadline_s: int, permit: bytes
    ) -> Transaction:
        """Fund our own lane by our permit; a permit that fails is passed over, and the allowance decides.

        Raises:
            InvalidRequest: ``tokens_short``.
        """
        await self._require_tokens(amount)
        lane = self._own_lane(payee, signer)
        return await self._send("depositWithPermit", *lane, amount, deadline_s, *_split(permit))

    async def deposit_with_authorization(
        self, lane: LaneKey, amount: int, *, until_s: int, salt: bytes, authorization: bytes
    ) -> Transaction:
        """Fund the payer's lane with the payer's tokens, by its authorization; the gas is ours."""
        window = (0, until_s, salt)
        signed = _split(authorization)
        return await self._send("depositWithAuthorization", *checksummed(lane), amount, *window, *signed)

    def health(self) -> ChainHealth:
        """How the endpoints do, and what is being sent, for the status page."""
        return ChainHealth(
            endpoints=self._rpc.views(),
            disputes=self._rpc.disputes,
            last_dispute=self._rpc.last_dispute,
            sending=self._sender.view(),
        )

    async def unmined(self) -> int:
        """How many transactions of our account were sent and are not mined yet."""
        return await self._sender.unmined()

    async def redeem_many(self, payee: bytes, rows: Sequence[bytes], *, urgent: bool = False) -> Transaction:
        """Redeem vouchers, each a row of 96 bytes. Rows that are worth nothing cost gas and pay nothing."""
        return await self._send("redeemMany", to_checksum_address(payee), b"".join(rows), urgent=urgent)

    async def redeem_to(self, to: bytes, rows: Sequence[bytes]) -> Transaction:
        """Redeem vouchers to ourselves, and have the money paid out to ``to``."""
        return await self._send("redeemManyTo", to_checksum_address(to), b"".join(rows))

    async def start_exit(self, payee: bytes, signer: bytes) -> Transaction:
        """Start the exit of our lane."""
        return await self._send("startExit", to_checksum_address(payee), to_checksum_address(signer))

    async def cancel_exit(self, payee: bytes, signer: bytes) -> Transaction:
        """Stop the exit of our lane."""
        return await self._send("cancelExit", to_checksum_address(payee), to_checksum_address(signer))

    async def finish_exit(self, key: LaneKey) -> Transaction:
        """Finish anybody's exit that is due; the money goes to the payer."""
        return await self._send("finishExit", *checksummed(key))

    async def close_together(
        self, key: LaneKey, *, cumulative: int, deadline_s: int, payee_signature: bytes, payer_signature: bytes
    ) -> Transaction:
        """Close a lane by consent. Our own side's signature may be empty: sending is consent enough."""
        return await self._send(
            "closeTogether",
            *checksummed(key),
            cumulative,
            deadline_s,
            payee_signature,
            payer_signature,
        )

    async def release(
        self, payee: bytes, signer: bytes, *, new_balance: int, deadline_s: int, payee_signature: bytes
    ) -> Transaction:
        """Take back at once what our lane has above ``new_balance``, with the payee's consent."""
        parties = to_checksum_address(payee), to_checksum_address(signer)
        return await self._send("release", *parties, new_balance, deadline_s, payee_signature)

    async def add_stake(self, amount: int) -> Transaction:
        """Stake more of our tokens. Approves as :meth:`deposit` does, and raises as it."""
        return await self._pay("addStake", amount, amount)

    async def leave_stake(self) -> Transaction:
        """Start to take our stake out."""
        return await self._send("leaveStake")

    async def take_stake(self) -> Transaction:
        """Take our stake out, once it is unlocked."""
        return await self._send("takeStake")

    async def slash_equivocation(self, proof: Contradiction) -> Transaction:
        """Show the escrow a provider's contradiction; a quarter of what it loses is ours."""
        return await self._send(
            "slashEquivocation",
            to_checksum_address(proof.provider),
            proof.kind,
            proof.subject,
            proof.sequence,
            proof.body_a,
            proof.signature_a,
            proof.body_b,
            proof.signature_b,
        )

    async def _pay(self, function: str, amount: int, *arguments: Any) -> Transaction:
        """Send a call that takes ``amount`` from our allowance, which is given first when it is short."""
        await self._require_tokens(amount)
        if await self._allowance() < amount:
            # Without a limit, as the escrow takes tokens from nobody but the sender of a deposit, and cannot
            # change.
            data = self._token_contract.encode_abi("approve", [to_checksum_address(self.escrow), _ANY_AMOUNT])
            approved = await self._sender.send(self.token, bytes.fromhex(data[2:]), confirmations=0)
            if not approved.succeeded:
                return approved
        return await self._send(function, *arguments)

    async def _require_tokens(self, amount: int) -> None:
        if await self.token_balance(self.account) < amount:
            raise InvalidRequest(
                f"the account {to_checksum_address(self.account)} holds fewer tokens than it is to pay in",
                code="tokens_short",
                fix="send it more tokens, or pay in fewer",
            )

    def _own_lane(self, payee: bytes, signer: bytes) -> tuple[str, str, str]:
        return checksummed(LaneKey(self.account, payee, signer))

    def _steps(self, delay_s: int) -> int:
        steps, rest = divmod(delay_s, self.delay_step_s)
        if rest or steps > MAX_STEPS:
            raise InvalidRequest(
                f"a delay of {delay_s} seconds cannot be had from this escrow",
                code="exit_delay",
                fix=f"take 1 to {MAX_STEPS} times {self.delay_step_s} seconds",
            )
        return steps

    async def _allowance(self) -> int:
        owner, spender = to_checksum_address(self.account), to_checksum_address(self.escrow)
        return await self._rpc.ask(
            lambda web3: int(token_at(web3, self.token).functions.allowance(owner, spender).call())
        )

    async def _send(self, function: str, *arguments: Any, urgent: bool = False) -> Transaction:
        data = self._escrow_contract.encode_abi(function, arguments)
        return await self._sender.send(self.escrow, bytes.fromhex(data[2:]), urgent=urgent)


def _split(compact: bytes) -> tuple[int, bytes, bytes]:
    """A compact signature as the v, r and s that tokens take."""
    if len(compact) != SIGNATURE_BYTES:
        raise InvalidRequest("a signature that is not 64 bytes", code="bad_signature")
    with_parity = int.from_bytes(compact[32:], "big")
    return 27 + (with_parity >> 255), compact[:32], (with_parity & (2**255 - 1)).to_bytes(32, "big")


class Sending(Struct, frozen=True, kw_only=True):
    """How a node sends: what it signs is written to ``journal`` first, and seen through after a restart.

    ``deposit_limit`` bounds what its key lets out of the account in 24 hours, in token units, and makes it sign for
    lanes and payouts to ``payouts`` only; 0: it signs anything. ``now_ms``: UTC milliseconds.
    """

    journal: Journal
    now_ms: Callable[[], int]
    deposit_limit: int = 0
    payouts: frozenset[bytes] = frozenset()


@asynccontextmanager
async def open_evm_chain(
    *,
    rpc_url: str | Sequence[str],
    chain_id: int,
    escrow: bytes,
    account_key: bytes | TransactionSigner,
    token: bytes | None = None,
    confirmations: int = 1,
    poll_ms: int = 500,
    policy: SendPolicy | None = None,
    timeout_s: float = 5.0,
    sending: Sending | None = None,
) -> AsyncIterator[EvmChain]:
    """Connect an account to the escrow, after the checks of ``open_evm_reader`` (and with its errors).

    Args:
        rpc_url: the chain's endpoint, or several of them, best first.
        account_key: the account's secret, 32 bytes, or who signs for it.
        token: the token the escrow must hold; None takes whatever it holds.
        confirmations: blocks on top of a transaction's own before a send returns.
        policy: finer settings; replaces ``confirmations`` and ``poll_ms``.
        sending: for a node; without it, what was sent is forgotten at the end.
    """
    policy = policy or SendPolicy(confirmations=confirmations, poll_ms=poll_ms)
    async with open_evm_rpc(rpc_url, chain_id=chain_id, timeout_s=timeout_s) as rpc:
        reader = await check_escrow(rpc, chain_id=chain_id, escrow=escrow, token=token)
        if sending is None:
            yield EvmChain(rpc, reader, EvmSender(rpc, account_key, chain_id=chain_id, policy=policy))
            return
        signer = _signer(account_key, sending, reader)
        outbox = Outbox(sending.journal, chain_id=chain_id, account=signer.account, now_ms=sending.now_ms)
        sender = EvmSender(rpc, signer, chain_id=chain_id, policy=policy, outbox=outbox)
        await sender.resume()
        async with running_beside(sender.keep):
            yield EvmChain(rpc, reader, sender)


def _signer(key: bytes | TransactionSigner, sending: Sending, reader: EvmReader) -> TransactionSigner:
    signer: TransactionSigner = KeySigner(key) if isinstance(key, bytes) else key
    if not sending.deposit_limit:
        return signer
    rules = HotKeyRules(escrow=reader.escrow, token=reader.token, daily=sending.deposit_limit, payouts=sending.payouts)
    return HotKeySigner(signer, rules, journal=sending.journal, now_ms=sending.now_ms)
