"""Accounts as people type them."""

from __future__ import annotations

import pytest

from market.errors import InvalidRequest
from node.account_text import is_account, read_account

GOOD = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
ACCOUNT = bytes.fromhex(GOOD[2:])


@pytest.mark.parametrize("text", [GOOD, GOOD[2:], GOOD.lower(), GOOD[2:].upper(), "0X" + GOOD[2:].upper()])
def test_an_account_is_read_however_it_is_written(text: str) -> None:
    assert is_account(text)
    assert read_account(text) == ACCOUNT


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD[:-1] + "7", "has a letter wrong"),
        (GOOD.replace("F", "f", 1), "has a letter wrong"),
        (GOOD[:-1], "is not an account"),
        (GOOD[:-1] + "Z", "is not an account"),
        ("", "is not an account"),
    ],
)
def test_what_is_nobodys_account_is_refused(text: str, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told) as caught:
        read_account(text)
    assert (caught.value.code, bool(caught.value.fix)) == ("bad_account", True)
