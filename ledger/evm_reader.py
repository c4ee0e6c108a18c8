"""What anybody may ask the escrow on an EVM chain, without an account: lanes, balances, transactions, events.

Opening one makes sure that the address really holds our escrow: the code is compared with the shipped
artifact, and the contract is asked for a voucher digest, as a look-alike with another domain would take
vouchers and never pay.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from msgspec import Struct
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import BadFunctionCallOutput, ContractLogicError, TransactionNotFound
from web3.types import TxReceipt

from ledger.artifact import load_artifact
from ledger.create2 import MAX_STEPS, DelayTerms
from ledger.evm_agreement import cautious_lane, read_agreed
from ledger.evm_rpc import EvmRpc, open_evm_rpc
from ledger.ports import ChainHead, LaneKey, LaneOnChain, LedgerEvent, Stake, TokenDomain, Transaction
from ledger.token_signatures import separator
from ledger.voucher import Domain, voucher_digest
from market.errors import InvalidRequest, Unavailable

MAX_EVENT_BLOCKS = 2000
"""Blocks per log query: what public endpoints commonly allow."""

EVENTS = (
    "Deposited",
    "Redeemed",
    "DelaySet",
    "ExitStarted",
    "ExitCancelled",
    "Released",
    "LaneClosed",
    "StakeChanged",
    "Slashed",
)
TOKEN_DECIMALS = 6
"""What every amount of ours is counted in: millionths of a token."""

_VERSION_ABI = [
    {
        "type": "function",
        "name": "version",
        "inputs": [],
        "outputs": [{"name": "", "type": "string"}],
        "stateMutability": "view",
    }
]
_PROBE = LaneKey(b"\x01" * 20, b"\x02" * 20, b"")


class EvmReader:
    """The reading half of the ``Chain`` port. Make one with :func:`open_evm_reader`.

    Attributes:
        chain_id, escrow, token, terms: what was found, and checked, when it was opened.
    """

    def __init__(self, rpc: EvmRpc, *, chain_id: int, escrow: bytes, token: bytes, terms: DelayTerms) -> None:
        self.chain_id = chain_id
        self.escrow = escrow
        self.token = token
        self.terms = terms
        self._rpc = rpc
        self._told_head = 0

    @property
    def exit_delay_s(self) -> int:
        """The window of a lane whose payer chose none."""
        return self.terms.exit_delay_s

    @property
    def delay_step_s(self) -> int:
        """Lanes' delays are 1 to 255 of these."""
        return self.terms.step_s

    async def head(self) -> ChainHead:
        """The newest block."""

        def question(web3: Web3) -> ChainHead:
            block = web3.eth.get_block("latest")
            return ChainHead(number=block["number"], hash=bytes(block["hash"]), timestamp=block["timestamp"])

        told = await self._rpc.ask(question)
        self._told_head = told.number
        return told

    async def lane(self, key: LaneKey, *, confirmations: int = 0) -> LaneOnChain:
        """The lane as of ``head - confirmations``; the cautious view when endpoints contradict each other."""
        return await self._read_lane(key, confirmations, cautious_lane)

    async def _read_lane(
        self, key: LaneKey, confirmations: int, doubtful: Callable[[Sequence[LaneOnChain]], LaneOnChain]
    ) -> LaneOnChain:
        def question(web3: Web3, block: int) -> LaneOnChain:
            lane = escrow_at(web3, self.escrow).functions.lane(*checksummed(key))
            try:
                balance, claimed, exit_at, delay_s, epoch = lane.call(block_identifier=block)
            except BadFunctionCallOutput:
                # The code was checked at opening, so this block is older than the escrow: its lanes were
                # empty.
                return LaneOnChain()
            return LaneOnChain(balance=balance, claimed=claimed, exit_at=exit_at, delay_s=delay_s, epoch=epoch)

        what = f"the lane of {key.payer.hex()[:8]} to {key.payee.hex()[:8]}"
        return await read_agreed(self._rpc, question, what=what, confirmations=confirmations, doubtful=doubtful)

    async def stake_of(self, provider: bytes, *, confirmations: int = 0) -> Stake:
        """A provider's stake as of ``head - confirmations``."""
        holder = to_checksum_address(provider)

        def question(web3: Web3) -> Stake:
            block = max(0, web3.eth.block_number - confirmations)
            stake = escrow_at(web3, self.escrow).functions.stakeOf(holder)
            try:
                amount, unlock_at = stake.call(block_identifier=block)
            except BadFunctionCallOutput:
                return Stake()
            return Stake(amount=amount, unlock_at=unlock_at)

        return await self._rpc.ask(question)

    async def token_domain(self) -> TokenDomain:
        """What the token's signatures are made over.

        Raises:
            InvalidRequest: ``no_token_signatures``: the token has none that can be checked here.
        """
        try:
            found, said = await self._rpc.ask(partial(_read_domain, token=self.token, chain_id=self.chain_id))
        except (ContractLogicError, BadFunctionCallOutput):
            found, said = None, b""
        # A signature over what a lying endpoint calls the domain could be good for another token.
        if found is None or separator(found) != said:
            raise InvalidRequest(
                f"the token {to_checksum_address(self.token)} takes no signatures",
                code="no_token_signatures",
                fix="approve and deposit in two transactions, as 'deposit' does",
            )
        return found

    async def permit_nonce(self, owner: bytes) -> int:
        """The number that the next permit of ``owner`` has to bear."""
        holder = to_checksum_address(owner)
        return await self._rpc.ask(lambda web3: int(token_at(web3, self.token).functions.nonces(holder).call()))

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
            # One endpoint told the head, another may be asked now: of blocks that it has not, it would say "no events".
            reached = min(last, self._told_head) if self._rpc.several else 0
            found += await self._rpc.ask(
                partial(_read_log, escrow=self.escrow, first=first, last=last, reached=reached)
            )
        return found


@asynccontextmanager
async def open_evm_reader(
    rpc_url: str | Sequence[str], *, chain_id: int, escrow: bytes, token: bytes | None = None, timeout_s: float = 5.0
) -> AsyncIterator[EvmReader]:
    """Connect and check everything that would otherwise cost money later.

    Raises:
        InvalidRequest: ``chain_url``, ``wrong_chain``, ``not_our_escrow`` or ``wrong_token``.
        Unavailable: the chain does not answer.
    """
    async with open_evm_rpc(rpc_url, chain_id=chain_id, timeout_s=timeout_s) as rpc:
        yield await check_escrow(rpc, chain_id=chain_id, escrow=escrow, token=token)


async def check_escrow(rpc: EvmRpc, *, chain_id: int, escrow: bytes, token: bytes | None) -> EvmReader:
    """A reader of the escrow, once it is known to be ours. Raises as :func:`open_evm_reader`."""
    actual = await rpc.ask(lambda web3: int(web3.eth.chain_id))
    if actual != chain_id:
        raise InvalidRequest(
            f"the chain at {rpc.endpoint} has id {actual}, not {chain_id}: vouchers made for one are worth nothing on "
            "the other",
            code="wrong_chain",
            where="chain_id under [chain]",
            fix="give the address of the right chain, or its id",
        )
    found = await rpc.ask(partial(_look_at_escrow, escrow=escrow))
    if isinstance(found, str):
        raise InvalidRequest(
            f"{to_checksum_address(escrow)} on chain {chain_id} {found}; money sent there may be lost",
            code="not_our_escrow",
            where="escrow under [chain]",
            fix="'cfab chain address' says where the escrow of this release lies; mend escrow or chain_id",
        )
    if found.digest != voucher_digest(Domain(chain_id, escrow), _PROBE, 1):
        raise InvalidRequest(
            f"{to_checksum_address(escrow)} takes vouchers of another domain: it is a forged escrow",
            code="not_our_escrow",
            where="escrow under [chain]",
            fix="take another escrow, and warn whoever gave you this one",
        )
    _require_token(found, token)
    return EvmReader(rpc, chain_id=chain_id, escrow=escrow, token=found.token, terms=found.terms)


def _require_token(found: _Escrow, token: bytes | None) -> None:
    if token is not None and token != found.token:
        raise InvalidRequest(
            f"the escrow holds the token {to_checksum_address(found.token)}, not {to_checksum_address(token)}",
            code="wrong_token",
            where="token under [chain]",
            fix="mend token or escrow under [chain]",
        )
    if found.decimals != TOKEN_DECIMALS:
        raise InvalidRequest(
            f"the token {to_checksum_address(found.token)} has {found.decimals} decimals, not {TOKEN_DECIMALS}: every "
            "price here would be worth something else",
            code="token_decimals",
            where="token under [chain]",
            fix=f"take an escrow of a token with {TOKEN_DECIMALS} decimals",
        )


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


class _Escrow(Struct, frozen=True, kw_only=True):
    token: bytes
    decimals: int
    terms: DelayTerms
    digest: bytes


def _look_at_escrow(web3: Web3, *, escrow: bytes) -> _Escrow | str:
    """What is at the address, or what is wrong with it."""
    code = bytes(web3.eth.get_code(to_checksum_address(escrow)))
    if not code:
        return "has no contract"
    if not load_artifact("Escrow").is_deployed_as(code):
        return "is not the escrow of this release: its code differs from what is shipped"
    functions = escrow_at(web3, escrow).functions
    step_s, steps = functions.delayStep().call(), functions.defaultDelay().call()
    # The constructor's own rules: code put there without it may have a window of no time at all.
    if not 0 < step_s <= functions.MAX_DELAY_STEP().call() or not 0 < steps <= MAX_STEPS:
        return "was not made by its constructor: payers could leave without a window"
    if functions.stakeDelay().call() != 2 * MAX_STEPS * step_s:
        return "was not made by its constructor: stakes could leave too early"
    token = bytes.fromhex(functions.token().call()[2:])
    return _Escrow(
        token=token,
        decimals=_decimals(web3, token),
        terms=DelayTerms(step_s, steps),
        digest=bytes(functions.voucherDigest(*checksummed(_PROBE)[:2], 1).call()),
    )


def _decimals(web3: Web3, token: bytes) -> int:
    try:
        return int(token_at(web3, token).functions.decimals().call())
    except (ContractLogicError, BadFunctionCallOutput):
        return 0


def _read_domain(web3: Web3, *, token: bytes, chain_id: int) -> tuple[TokenDomain, bytes]:
    functions = token_at(web3, token).functions
    try:
        _, name, version, *_ = functions.eip712Domain().call()
    except (ContractLogicError, BadFunctionCallOutput):
        # The older dollar tokens tell their version in a call of its own.
        older = web3.eth.contract(address=to_checksum_address(token), abi=_VERSION_ABI).functions
        name, version = functions.name().call(), older.version().call()
    found = TokenDomain(name=name, version=version, chain_id=chain_id, token=token)
    return found, bytes(functions.DOMAIN_SEPARATOR().call())


def _read_log(web3: Web3, *, escrow: bytes, first: int, last: int, reached: int) -> list[LedgerEvent]:
    if reached and int(web3.eth.block_number) < reached:
        raise Unavailable(f"the endpoint has not reached block {reached} yet", code="chain_behind")
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
