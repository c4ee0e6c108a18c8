"""The ``Chain`` port on a real EVM chain: the reading half of ``evm_reader`` plus one account that sends.

This is glue and holds no rule of its own: what may be sent, and when, is decided by ``payer`` and ``payee``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from eth_utils.address import to_checksum_address
from web3 import Web3

from ledger.evm_reader import EvmReader, check_escrow, checksummed, escrow_at, token_at
from ledger.evm_rpc import EvmRpc, open_evm_rpc
from ledger.evm_sender import EvmSender, SendPolicy
from ledger.ports import LaneKey, Transaction
from market.errors import InvalidRequest

_ANY_AMOUNT = 2**256 - 1


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
            exit_delay_s=reader.exit_delay_s,
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
        if await self.token_balance(self.account) < amount:
            raise InvalidRequest(
                f"the account {to_checksum_address(self.account)} holds fewer tokens than the deposit needs",
                code="tokens_short",
                fix="send it more tokens, or take a smaller deposit",
            )
        if await self._allowance() < amount:
            # Without a limit, as the escrow takes tokens from nobody but the sender of a deposit, and cannot
            # change.
            data = self._token_contract.encode_abi("approve", [to_checksum_address(self.escrow), _ANY_AMOUNT])
            approved = await self._sender.send(self.token, bytes.fromhex(data[2:]), confirmations=0)
            if not approved.succeeded:
                return approved
        return await self._send(
            "deposit",
            to_checksum_address(self.account),
            to_checksum_address(payee),
            to_checksum_address(signer),
            amount,
        )

    async def unmined(self) -> int:
        """How many transactions of our account were sent and are not mined yet."""
        return await self._sender.unmined()

    async def redeem_many(self, payee: bytes, rows: Sequence[bytes]) -> Transaction:
        """Redeem vouchers, each a row of 96 bytes. Rows that are worth nothing cost gas and pay nothing."""
        return await self._send("redeemMany", to_checksum_address(payee), b"".join(rows))

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

    async def _allowance(self) -> int:
        owner, spender = to_checksum_address(self.account), to_checksum_address(self.escrow)
        return await self._rpc.ask(
            lambda web3: int(token_at(web3, self.token).functions.allowance(owner, spender).call())
        )

    async def _send(self, function: str, *arguments: Any) -> Transaction:
        data = self._escrow_contract.encode_abi(function, arguments)
        return await self._sender.send(self.escrow, bytes.fromhex(data[2:]))


@asynccontextmanager
async def open_evm_chain(
    *,
    rpc_url: str,
    chain_id: int,
    escrow: bytes,
    account_key: bytes,
    token: bytes | None = None,
    confirmations: int = 1,
    poll_ms: int = 500,
    policy: SendPolicy | None = None,
    timeout_s: float = 5.0,
) -> AsyncIterator[EvmChain]:
    """Connect an account to the escrow, after the checks of ``open_evm_reader`` (and with its errors).

    Args:
        account_key: the account's secret, 32 bytes.
        token: the token the escrow must hold; None takes whatever it holds.
        confirmations: blocks on top of a transaction's own before a send returns.
        policy: finer settings; replaces ``confirmations`` and ``poll_ms``.
    """
    policy = policy or SendPolicy(confirmations=confirmations, poll_ms=poll_ms)
    async with open_evm_rpc(rpc_url, timeout_s=timeout_s) as rpc:
        reader = await check_escrow(rpc, chain_id=chain_id, escrow=escrow, token=token)
        yield EvmChain(rpc, reader, EvmSender(rpc, account_key, chain_id=chain_id, policy=policy))
