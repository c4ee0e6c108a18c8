"""Signing, apart from sending: a port, so that the key may lie in memory, in a keystore or on a device.

Who sends never sees a key. What comes back from a signer is read again and compared with what was asked for.
"""

from __future__ import annotations

from typing import Protocol

from eth_account import Account
from eth_utils.address import to_checksum_address
from msgspec import Struct

from ledger.raw_transaction import read_transaction
from market.errors import BrokenInvariant


class UnsignedTransaction(Struct, frozen=True, kw_only=True):
    """A fee-market transaction to be signed. ``to`` None deploys ``data``; fees are wei per gas."""

    chain_id: int
    nonce: int
    to: bytes | None
    data: bytes
    value: int
    gas: int
    fee_cap: int
    tip_cap: int


class SignedTransaction(Struct, frozen=True):
    """The bytes to send, and the hash by which the chain will know them."""

    raw: bytes
    hash: bytes


class TransactionSigner(Protocol):
    """Something that holds one account's key. Signing may take as long as a person needs to press a button."""

    @property
    def account(self) -> bytes: ...
    async def sign(self, transaction: UnsignedTransaction) -> SignedTransaction:
        """Sign, or say why not.

        Raises:
            InvalidRequest: the signer does not sign this. Unavailable: it cannot be reached.
        """
        ...


class KeySigner:
    """Signs with a key in memory: what an opened keystore gives, or a development account."""

    def __init__(self, secret: bytes) -> None:
        self._account = Account.from_key(secret)
        self.account: bytes = bytes.fromhex(self._account.address[2:])

    async def sign(self, transaction: UnsignedTransaction) -> SignedTransaction:
        fields = {
            "type": 2,
            "chainId": transaction.chain_id,
            "nonce": transaction.nonce,
            "data": transaction.data,
            "value": transaction.value,
            "gas": transaction.gas,
            "maxFeePerGas": transaction.fee_cap,
            "maxPriorityFeePerGas": transaction.tip_cap,
        }
        if transaction.to is not None:
            fields["to"] = to_checksum_address(transaction.to)
        signed = self._account.sign_transaction(fields)
        return SignedTransaction(bytes(signed.raw_transaction), bytes(signed.hash))


def check_signed(asked: UnsignedTransaction, signed: SignedTransaction, account: bytes) -> None:
    """Make sure that a signer signed just what it was asked for.

    Raises:
        BrokenInvariant: something else was signed, or by another key. InvalidRequest: it is no transaction.
    """
    found = read_transaction(signed.raw)
    to = None if found.to is None else bytes.fromhex(found.to[2:])
    read = UnsignedTransaction(
        chain_id=found.chain_id,
        nonce=found.nonce,
        to=to,
        data=found.data,
        value=found.value,
        gas=found.gas,
        fee_cap=found.fee_cap,
        tip_cap=found.tip_cap,
    )
    if (read, found.sender, found.hash) != (asked, "0x" + account.hex(), signed.hash):
        raise BrokenInvariant("the signer signed another transaction than it was asked for", code="signer_differs")
