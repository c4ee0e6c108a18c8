"""Deposits without an approval: the wallet's permit where the token takes one."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from ledger.permit_deposits import PermitDeposits, with_permits
from ledger.ports import LaneKey, TokenDomain
from ledger.voucher import SessionKey
from market.errors import InvalidRequest, Unavailable
from tests.fakes.lane_world import TrioClock
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_tokens import MemoryTokens

WALLET, PAYEE, SIGNER = SessionKey(b"\x31" * 32), b"\x02" * 20, b"\x03" * 20
LANE = LaneKey(WALLET.address, PAYEE, SIGNER)


class Purse:
    """A wallet with tokens, and the chain with permits in front of it."""

    def __init__(self, wallet: SessionKey = WALLET) -> None:
        self.world = MemoryChain(TrioClock())
        self.view = self.world.view(WALLET.address)
        self.world.give_gas(WALLET.address)
        self.world.mint(WALLET.address, 1_000)
        self.chain, self.permits = with_permits(self.view, MemoryTokens(self.view), wallet)

    async def balance(self) -> int:
        return (await self.view.lane(LANE)).balance

    @property
    def allowance(self) -> int:
        return self.world._now().model.allowances.get(WALLET.address, 0)


async def test_a_permit_fills_the_lane_and_leaves_no_allowance_behind(autojump_clock: MockClock) -> None:
    purse = Purse()
    assert await purse.permits.way(600) == "permit"
    assert (await purse.chain.deposit(PAYEE, SIGNER, 600)).succeeded
    assert (await purse.balance(), purse.allowance) == (600, 0)
    assert (await purse.chain.deposit(PAYEE, SIGNER, 400)).succeeded  # the next permit has the next number
    assert await purse.balance() == 1_000


async def test_an_allowance_that_is_there_is_used(autojump_clock: MockClock) -> None:
    purse = Purse()
    purse.world._now().model.approve(WALLET.address, 500)
    assert await purse.permits.way(500) == "allowance"
    assert await purse.permits.way(501) == "permit"
    await purse.chain.deposit(PAYEE, SIGNER, 500)
    assert (await purse.balance(), purse.allowance) == (500, 0)


async def test_a_token_without_permits_is_approved_first(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    purse = Purse()

    async def none() -> TokenDomain:
        raise InvalidRequest("none", code="no_token_signatures")

    monkeypatch.setattr(purse.view, "token_domain", none)
    assert await purse.permits.way(1) == "approval"
    assert (await purse.chain.deposit(PAYEE, SIGNER, 600)).succeeded
    assert await purse.balance() == 600


async def test_trouble_is_not_taken_for_a_token_without_permits(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    purse = Purse()

    async def other() -> TokenDomain:
        raise InvalidRequest("other", code="wrong_token")

    monkeypatch.setattr(purse.view, "token_domain", other)
    with pytest.raises(InvalidRequest) as refused:
        await purse.permits.way(1)
    assert refused.value.code == "wrong_token"
    purse.view.offline = True
    with pytest.raises(Unavailable):
        await purse.chain.deposit(PAYEE, SIGNER, 1)


async def test_everything_else_is_the_chain_itself(autojump_clock: MockClock) -> None:
    purse = Purse()
    assert isinstance(purse.chain, PermitDeposits)
    assert purse.chain.account == WALLET.address
    assert (await purse.chain.lane(LANE)).balance == 0
    with pytest.raises(InvalidRequest) as refused:
        await purse.chain.deposit(PAYEE, SIGNER, 1_001)
    assert refused.value.code == "tokens_short"
