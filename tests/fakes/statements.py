"""What providers state about a lease or a slot, hashed by eth-account's general encoder: told independently of ours."""

from __future__ import annotations

from eth_account.messages import _hash_eip191_message, encode_typed_data

from ledger.voucher import Domain

RECEIPT, GRANT = 0, 1
_TYPES = {RECEIPT: ("Receipt", "lease"), GRANT: ("Grant", "slot")}


def statement_digest(domain: Domain, kind: int, subject: bytes, seq: int, body: bytes) -> bytes:
    """What a provider signs to state ``body``; ``seq`` is the statement's number about ``subject`` (32 bytes)."""
    name, field = _TYPES[kind]
    encoded = encode_typed_data(
        {
            "name": "ComputeFabric Escrow",
            "version": "1",
            "chainId": domain.chain_id,
            "verifyingContract": "0x" + domain.escrow.hex(),
        },
        {
            name: [
                {"type": "bytes32", "name": field},
                {"type": "uint64", "name": "seq"},
                {"type": "bytes32", "name": "body"},
            ]
        },
        {field: subject, "seq": seq, "body": body},
    )
    return bytes(_hash_eip191_message(encoded))
