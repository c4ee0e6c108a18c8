"""Transactions written out for another wallet to sign: a hardware wallet, or an account on another machine. Pure.

They hold everything that such a wallet wants to see, and nothing secret. The gas limits have room: what is not used is
not paid.
"""

from __future__ import annotations

from eth_abi.abi import encode
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address
from msgspec import Struct

from ledger.ports import LaneKey

APPROVE_GAS = 80_000
DEPOSIT_GAS = 150_000
"""A first deposit costs about 90,000 with a plain token; real ones are proxies, and dearer."""


class ReadyTransaction(Struct, frozen=True, kw_only=True):
    """One call: ``what`` it does in a word, the contract it goes to, its data, and at most how much gas."""

    what: str
    to: bytes
    data: bytes
    value: int
    chain_id: int
    gas: int


def ready_deposit(
    lane: LaneKey, amount: int, *, chain_id: int, escrow: bytes, token: bytes, allowance: int = 0
) -> tuple[ReadyTransaction, ...]:
    """What an account sends to put ``amount`` units into a lane, anybody's: an approval unless the escrow may take that
    much already, and the deposit."""
    parties = [to_checksum_address(one) for one in (lane.payer, lane.payee, lane.signer)]
    calls = [
        ReadyTransaction(
            what="deposit",
            to=escrow,
            data=_call(
                "deposit(address,address,address,uint96)",
                ["address", "address", "address", "uint96"],
                [*parties, amount],
            ),
            value=0,
            chain_id=chain_id,
            gas=DEPOSIT_GAS,
        )
    ]
    if allowance < amount:
        data = _call("approve(address,uint256)", ["address", "uint256"], [to_checksum_address(escrow), amount])
        calls.insert(
            0, ReadyTransaction(what="approve", to=token, data=data, value=0, chain_id=chain_id, gas=APPROVE_GAS)
        )
    return tuple(calls)


def _call(signature: str, kinds: list[str], values: list[object]) -> bytes:
    return bytes(keccak(signature.encode())[:4]) + bytes(encode(kinds, values))
