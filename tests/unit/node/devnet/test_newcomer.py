"""Test money for a newcomer. The chain is not here: what it would be asked is looked at."""

from __future__ import annotations

from typing import Any

import pytest

from market.errors import InvalidRequest
from node.devnet import newcomer
from node.devnet.kept import Kept
from node.devnet.newcomer import fund_newcomer

ACCOUNT = "0x" + "ab" * 20


@pytest.fixture
def funded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was asked of the chain."""
    asked: list[tuple[Any, ...]] = []

    async def fund(url: str, key: bytes, account: bytes, **given: Any) -> None:
        asked.append((url, account, given))

    monkeypatch.setattr(newcomer, "fund", fund)
    return asked


def test_tokens_and_gas_are_made_on_the_chain_that_was_kept(
    funded: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
):
    kept = Kept(folder="/x", tickets={}, homes={}, rpc="http://127.0.0.1:9", token="0x" + "cd" * 20)
    monkeypatch.setattr(newcomer, "recall", lambda: kept)
    for account in (ACCOUNT, ACCOUNT[2:].upper()):
        assert fund_newcomer(account) is kept
    gift = {"token": bytes.fromhex("cd" * 20), "units": newcomer.TOKENS, "gas_wei": newcomer.GAS_WEI}
    assert funded == [("http://127.0.0.1:9", bytes.fromhex("ab" * 20), gift)] * 2


@pytest.mark.parametrize(("account", "code"), [("0x12", "usage"), (ACCOUNT + "/", "usage"), (ACCOUNT, "not_found")])
def test_nothing_is_asked_of_any_chain_otherwise(
    funded: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, account: str, code: str
):
    monkeypatch.setattr(newcomer, "recall", lambda: None)
    with pytest.raises(InvalidRequest) as refused:
        fund_newcomer(account)
    assert refused.value.code == code
    assert funded == []
