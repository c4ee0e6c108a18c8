"""What anybody may ask the escrow on an EVM chain, without an account: lanes, balances, transactions, events.

Opening one makes sure that the address really holds our escrow: the code is compared with the shipped
artifact, and the contract is asked for a voucher digest, as a look-alike with another domain would take
vouchers and never pay.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import BadFunctionCallOutput, TransactionNotFound
from web3.types import TxReceipt

from ledger.artifact import load_artifact
from ledger.evm_rpc import EvmRpc, open_evm_rpc
from ledger.ports import ChainHead, LaneKey, LaneOnChain, LedgerEvent, Transaction
from ledger.voucher import Domain, voucher_digest
from market.errors import InvalidRequest

MAX_EVENT_BLOCKS = 2000
"""Blocks per log query: what public endpoints commonly allow."""

EVENTS = ("Deposited", "Redeemed", "ExitStarted", "ExitCancelled", "LaneClosed")

_PROBE = LaneKey(b"\x01" * 20, b"\x02" * 20, b"")


class EvmReader:
    """The reading half of the ``Chain`` port. Make one with :func:`open_evm_reader`.

    Attributes:
        chain_id, escrow, token, exit_delay_s: what was found, and checked, when it was opened.
    """

    def __init__(self, rpc: EvmRpc, *, chain_id: int, escrow: bytes, token: bytes, exit_delay_s: int) -> None:
        self.chain_id = chain_id
        self.escrow = escrow
        self.token = token
        self.exit_delay_s = exit_delay_s
        self._rpc = rpc

    async def head(self) -> ChainHead:
        """The newest block."""

        def question(web3: Web3) -> ChainHead:
            block = web3.eth.get_block("latest")
            return ChainHead(number=block["number"], hash=bytes(block["hash"]), timestamp=block["timestamp"])

        return await self._rpc.ask(question)

    async def lane(self, key: LaneKey, *, confirmations: int = 0) -> LaneOnChain:
        """The lane as of ``head - confirmations``."""

        def question(web3: Web3) -> LaneOnChain:
            block = max(0, web3.eth.block_number - confirmations)
            lane = escrow_at(web3, self.escrow).functions.lane(*checksummed(key))
            try:
                balance, claimed, exit_at, epoch = lane.call(block_identifier=block)
            except BadFunctionCallOutput:
                # The code was checked at opening, so this block is older than the escrow: its lanes were
                # empty.
                return LaneOnChain()
            return LaneOnChain(balance=balance, claimed=claimed, exit_at=exit_at, epoch=epoch)

        return await self._rpc.ask(question)

    async def token_balance(self, account: bytes) -> int:
        """Token units that ``account`` holds."""
        holder = to_checksum_address(account)
        return await self._rpc.ask(lambda web3: int(token_at(web3, self.token).functions.balanceOf(holder).call()))

    async def gas_balance(self, account: bytes) -> int:
        """Wei of the chain's own coin that ``account`` holds."""
        return await self._rpc.ask(lambda web3: int(web3.eth.get_balance(to_checksum_address(account))))

    async def transaction(self, transaction: bytes) -> Transaction | None:
        """A mined transaction by hash, or None while it is unknown or pending."""

        def question(web3: Web3) -> Transaction | None:
            try:
                return mined(web3.eth.get_transaction_receipt(HexBytes(transaction)))
            except TransactionNotFound:
                return None

        return await self._rpc.ask(question)

    async def preview_redeem(self, payee: bytes, rows: bytes) -> int:
        """What ``redeem_many`` would pay for these rows now."""
        provider = to_checksum_address(payee)
        return await self._rpc.ask(
            lambda web3: int(escrow_at(web3, self.escrow).functions.previewRedeem(provider, rows).call())
        )

    async def events(self, from_block: int, to_block: int) -> list[LedgerEvent]:
        """The escrow's log between two blocks, both included, in the order in which it was written."""
        found: list[LedgerEvent] = []
        for first in range(from_block, to_block + 1, MAX_EVENT_BLOCKS):
            last = min(first + MAX_EVENT_BLOCKS - 1, to_block)
            found += await self._rpc.ask(partial(_read_log, escrow=self.escrow, first=first, last=last))
        return found


@asynccontextmanager
async def open_evm_reader(
    rpc_url: str, *, chain_id: int, escrow: bytes, token: bytes | None = None, timeout_s: float = 5.0
) -> AsyncIterator[EvmReader]:
    """Connect and check everything that would otherwise cost money later.

    Raises:
        InvalidRequest: ``chain_url``, ``wrong_chain``, ``not_our_escrow`` or ``wrong_token``.
        Unavailable: the chain does not answer.
    """
    async with open_evm_rpc(rpc_url, timeout_s=timeout_s) as rpc:
        yield await check_escrow(rpc, chain_id=chain_id, escrow=escrow, token=token)


async def check_escrow(rpc: EvmRpc, *, chain_id: int, escrow: bytes, token: bytes | None) -> EvmReader:
    """A reader of the escrow, once it is known to be ours. Raises as :func:`open_evm_reader`."""
    actual = await rpc.ask(lambda web3: int(web3.eth.chain_id))
    if actual != chain_id:
        raise InvalidRequest(
            f"the chain at {rpc.endpoint} has id {actual}, not {chain_id}",
            code="wrong_chain",
            fix="give the address of the right chain, or its id",
        )
    address = to_checksum_address(escrow)
    code = await rpc.ask(lambda web3: bytes(web3.eth.get_code(address)))
    if not load_artifact("Escrow").is_deployed_as(code):
        raise InvalidRequest(
            f"{address} on chain {chain_id} is not the escrow of this release",
            code="not_our_escrow",
            fix="check the escrow's address and the chain id in the config",
        )

    def question(web3: Web3) -> tuple[str, int, bytes]:
        functions = escrow_at(web3, escrow).functions
        digest = functions.voucherDigest(*checksummed(_PROBE)[:2], 1).call()
        return functions.token().call(), functions.exitDelay().call(), bytes(digest)

    found_token, exit_delay_s, digest = await rpc.ask(question)
    if digest != voucher_digest(Domain(chain_id, escrow), _PROBE, 1):
        raise InvalidRequest(
            f"{address} takes vouchers of another domain: it is a forged escrow", code="not_our_escrow"
        )
    actual_token = bytes.fromhex(found_token[2:])
    if token is not None and token != actual_token:
        raise InvalidRequest(f"the escrow holds the token {found_token}, not the one asked for", code="wrong_token")
    return EvmReader(rpc, chain_id=chain_id, escrow=escrow, token=actual_token, exit_delay_s=exit_delay_s)


def escrow_at(web3: Web3, address: bytes) -> Contract:
    """web3's view of our escrow."""
    return web3.eth.contract(address=to_checksum_address(address), abi=load_artifact("Escrow").abi)


def token_at(web3: Web3, address: bytes) -> Contract:
    """web3's view of a token. Only the standard ERC-20 calls may be used, except on a devnet's own token."""
    return web3.eth.contract(address=to_checksum_address(address), abi=load_artifact("TestToken").abi)


def mined(receipt: TxReceipt) -> Transaction:
    """A receipt in our own words."""
    return Transaction(
        hash=bytes(receipt["transactionHash"]),
        block=receipt["blockNumber"],
        succeeded=receipt["status"] == 1,
        gas_used=receipt["gasUsed"],
    )


def checksummed(key: LaneKey) -> tuple[str, str, str]:
    """Payer, provider and signer as the text that web3 takes for addresses."""
    return (
        to_checksum_address(key.payer),
        to_checksum_address(key.payee),
        to_checksum_address(key.signer.rjust(20, b"\0")),
    )


def _read_log(web3: Web3, *, escrow: bytes, first: int, last: int) -> list[LedgerEvent]:
    contract = escrow_at(web3, escrow)
    kinds = {bytes.fromhex(event.topic[2:]): event for event in map(contract.events.__getitem__, EVENTS)}
    entries = web3.eth.get_logs({"address": contract.address, "fromBlock": first, "toBlock": last})
    found = []
    for entry in entries:
        event = kinds.get(bytes(entry["topics"][0]))
        if event is None:
            continue
        decoded = event.process_log(entry)
        found.append(
            LedgerEvent(
                kind=decoded["event"],
                block=decoded["blockNumber"],
                index=decoded["logIndex"],
                transaction=bytes(decoded["transactionHash"]),
                arguments={name: _plain(value) for name, value in decoded["args"].items()},
            )
        )
    return found


def _plain(value: Any) -> object:
    return bytes.fromhex(value[2:]) if isinstance(value, str) else value
