"""Signed transactions as they go over the wire, read back: fields, and the sender by signature recovery. Pure.

Knows the two kinds that today's wallets send, fee-market (type 2) and legacy with a chain id; others are refused.
"""

from __future__ import annotations

from typing import Any

import rlp
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_hash.auto import keccak
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError
from hexbytes import HexBytes
from msgspec import Struct
from rlp.exceptions import RLPException

from market.errors import InvalidRequest


class RawTransaction(Struct, frozen=True, kw_only=True):
    """What a signed transaction asks for. ``fee_cap`` and ``tip_cap`` are wei per gas, equal for a legacy one."""

    hash: bytes
    kind: int
    sender: str
    to: str | None
    nonce: int
    data: bytes
    value: int
    gas: int
    fee_cap: int
    tip_cap: int
    chain_id: int


def read_transaction(raw: bytes) -> RawTransaction:
    """Decode and recover.

    Raises:
        InvalidRequest: not a signed transaction of a kind known here.
    """
    try:
        sender = Account.recover_transaction(raw).lower()
        fields = _typed(raw) if raw[0] <= 0x7F else _legacy(raw)
    except (ValueError, TypeError, IndexError, RLPException, BadSignature, ValidationError) as error:
        raise InvalidRequest(f"not a signed transaction ({type(error).__name__})", code="bad_transaction") from error
    return RawTransaction(hash=keccak(raw), sender=sender, **fields)


def _typed(raw: bytes) -> dict[str, Any]:
    transaction = TypedTransaction.from_bytes(HexBytes(raw))
    found = transaction.as_dict()
    if transaction.encode() != raw or found["v"] not in (0, 1):
        # The decoder takes any odd byte for a 1; two encodings would be two hashes of one act.
        raise ValueError("not the canonical encoding")
    if found["type"] != 2:
        raise ValueError("only fee-market transactions")
    to = bytes(found["to"])
    return {
        "kind": 2,
        "to": "0x" + to.hex() if to else None,
        "nonce": int(found["nonce"]),
        "data": bytes(found["data"]),
        "value": int(found["value"]),
        "gas": int(found["gas"]),
        "fee_cap": int(found["maxFeePerGas"]),
        "tip_cap": int(found["maxPriorityFeePerGas"]),
        "chain_id": int(found["chainId"]),
    }


def _legacy(raw: bytes) -> dict[str, Any]:
    nonce, price, gas, to, value, data, v, _, _ = rlp.decode(raw)
    number = int.from_bytes
    return {
        "kind": 0,
        "to": "0x" + to.hex() if to else None,
        "nonce": number(nonce, "big"),
        "data": bytes(data),
        "value": number(value, "big"),
        "gas": number(gas, "big"),
        "fee_cap": number(price, "big"),
        "tip_cap": number(price, "big"),
        # EIP-155: v is 35 or 36 plus twice the chain id. Without one, the signature would be good on any chain.
        "chain_id": (number(v, "big") - 35) // 2,
    }
