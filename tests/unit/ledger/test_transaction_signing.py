"""What a signer gives back is what was asked for, or it is not sent."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ledger.raw_transaction import read_transaction
from ledger.transaction_signing import KeySigner, SignedTransaction, UnsignedTransaction, check_signed
from market.errors import BrokenInvariant, InvalidRequest

SIGNER = KeySigner(b"\x41" * 32)
ASKED = UnsignedTransaction(
    chain_id=5, nonce=7, to=b"\x09" * 20, data=b"\x01\x02", value=3, gas=60_000, fee_cap=200, tip_cap=10
)


async def test_a_key_in_memory_signs_what_it_is_asked_for() -> None:
    signed = await SIGNER.sign(ASKED)
    check_signed(ASKED, signed, SIGNER.account)
    read = read_transaction(signed.raw)
    assert (read.nonce, read.data, read.value, read.fee_cap, read.tip_cap) == (7, b"\x01\x02", 3, 200, 10)


async def test_a_deployment_has_no_addressee() -> None:
    asked = replace(ASKED, to=None)
    check_signed(asked, await SIGNER.sign(asked), SIGNER.account)


@pytest.mark.parametrize(
    "change",
    [{"nonce": 8}, {"to": b"\x08" * 20}, {"data": b""}, {"value": 4}, {"gas": 1}, {"fee_cap": 201}, {"chain_id": 6}],
)
async def test_a_signer_that_signs_something_else_is_found_out(change: dict[str, object]) -> None:
    signed = await SIGNER.sign(replace(ASKED, **change))  # type: ignore[arg-type]
    with pytest.raises(BrokenInvariant):
        check_signed(ASKED, signed, SIGNER.account)


async def test_so_is_one_with_another_key_another_hash_or_with_rubbish() -> None:
    with pytest.raises(BrokenInvariant):
        check_signed(ASKED, await KeySigner(b"\x42" * 32).sign(ASKED), SIGNER.account)
    good = await SIGNER.sign(ASKED)
    with pytest.raises(BrokenInvariant):
        check_signed(ASKED, SignedTransaction(good.raw, bytes(32)), SIGNER.account)
    with pytest.raises(InvalidRequest):
        check_signed(ASKED, SignedTransaction(b"\x02rubbish", good.hash), SIGNER.account)


def test_a_key_is_not_shown() -> None:
    assert "41" * 8 not in repr(SIGNER) + repr(vars(SIGNER))
