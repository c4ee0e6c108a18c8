"""What is asked of a chain about one account's transactions: each a function for one endpoint, run in a thread."""

from __future__ import annotations

from collections.abc import Sequence

from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from msgspec import Struct
from web3 import Web3
from web3.exceptions import ContractLogicError, TransactionNotFound
from web3.types import TxParams

from ledger.evm_reader import mined
from ledger.flight_steps import Look, Sight
from ledger.gas_fees import GasMarket
from ledger.outbox import Flight
from ledger.ports import Transaction


class Terms(Struct, frozen=True):
    """What a new transaction of the account starts from. ``balance`` is wei of the chain's own coin."""

    market: GasMarket
    nonce: int
    balance: int


def market_of(web3: Web3) -> GasMarket:
    """What gas costs in the newest block."""
    base = int(web3.eth.get_block("latest").get("baseFeePerGas", 0))
    return GasMarket(base=base, tip=int(web3.eth.max_priority_fee))


def terms_of(web3: Web3, account: bytes) -> Terms:
    """Gas, the next nonce, and what there is to pay with."""
    address = to_checksum_address(account)
    # "latest" may lag behind a transaction that was accepted a moment ago.
    nonce = web3.eth.get_transaction_count(address, "pending")
    return Terms(market_of(web3), nonce, web3.eth.get_balance(address))


def next_nonce(web3: Web3, account: bytes) -> int:
    """The account's next nonce, counting what waits in the pool."""
    return web3.eth.get_transaction_count(to_checksum_address(account), "pending")


def in_pool(web3: Web3, account: bytes) -> int:
    """How many of the account's transactions the endpoint has that are not mined."""
    address = to_checksum_address(account)
    before = web3.eth.get_transaction_count(address, "latest")
    return max(0, web3.eth.get_transaction_count(address, "pending") - before)


def estimate(web3: Web3, params: TxParams) -> int | None:
    """The gas that a call needs; None when it would revert."""
    try:
        return web3.eth.estimate_gas(params)
    except ContractLogicError:
        return None


def look(web3: Web3, account: bytes, flights: Sequence[Flight]) -> Look:
    """What became of flights."""
    # The count first: when it already covers a nonce, the receipt that is asked for after it must be there.
    count = web3.eth.get_transaction_count(to_checksum_address(account), "latest")
    found = {
        flight.nonce: next((seen for hash in flight.hashes if (seen := receipt(web3, hash)) is not None), None)
        for flight in flights
        if flight.nonce < count
    }
    head = int(web3.eth.block_number)
    sights = {
        flight.nonce: Sight(found=found.get(flight.nonce), used=flight.nonce < count, head=head) for flight in flights
    }
    return Look(count=count, sights=sights)


def receipt(web3: Web3, hash: bytes) -> Transaction | None:
    """A mined transaction, or None."""
    try:
        return mined(web3.eth.get_transaction_receipt(HexBytes(hash)))
    except TransactionNotFound:
        return None


def displaced(web3: Web3, account: bytes, flight: Flight, confirmations: int) -> bool:
    """Whether a nonce was used up by another transaction, so deep that it will stay so."""
    block = max(0, int(web3.eth.block_number) - confirmations)
    count = web3.eth.get_transaction_count(to_checksum_address(account), block)
    return count > flight.nonce and all(receipt(web3, hash) is None for hash in flight.hashes)


def knows(web3: Web3, hash: bytes) -> bool:
    """Whether the endpoint has a transaction, mined or not."""
    try:
        web3.eth.get_transaction(HexBytes(hash))
    except TransactionNotFound:
        return False
    return True


def send_raw(web3: Web3, raw: bytes) -> bytes:
    """Hand signed bytes to the chain."""
    return bytes(web3.eth.send_raw_transaction(HexBytes(raw)))
