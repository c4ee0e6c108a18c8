"""An account on the chain as people type it."""

from __future__ import annotations

import re

from eth_utils.address import is_checksum_address

from market.errors import InvalidRequest

_ACCOUNT = re.compile(r"(0[xX])?[0-9a-fA-F]{40}")


def is_account(text: str) -> bool:
    """Whether the text has the form of an account; a letter of it may still be wrong."""
    return _ACCOUNT.fullmatch(text) is not None


def read_account(text: str) -> bytes:
    """The account that is meant. Mixed case is a checksum (EIP-55), and must hold: a mistyped account is nobody's.

    Raises:
        InvalidRequest: ``bad_account``.
    """
    if not is_account(text):
        raise InvalidRequest(f"'{text[:80]}' is not an account", code="bad_account", fix="0x and 40 hex digits")
    digits = text[-40:]
    if digits not in (digits.lower(), digits.upper()) and not is_checksum_address("0x" + digits):
        raise InvalidRequest(
            f"{text} has a letter wrong: its checksum does not hold", code="bad_account", fix="copy it again"
        )
    return bytes.fromhex(digits)
