"""One suite for the ``TokenAccount`` port: the fake in memory and the real adapter on two local chains must agree."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from ledger.evm_chain import EvmChain
from ledger.evm_tokens import EvmTokens
from ledger.ports import Chain
from ledger.token_account import TokenAccount, TokenTransfer
from ledger.voucher import SessionKey
from market.errors import InvalidRequest, Unavailable
from tests.fakes.chain_worlds import KINDS, ChainWorld, open_chain_world
from tests.fakes.memory_chain import MemoryChainView
from tests.fakes.memory_tokens import MemoryTokens

pytestmark = pytest.mark.chain
SECRET, OWNER, STRANGER = b"\x51" * 32, b"\x0a" * 20, b"\x0b" * 20


@dataclass
class Account:
    world: ChainWorld
    chain: Chain
    tokens: TokenAccount


def tokens_of(chain: Any) -> TokenAccount:
    if isinstance(chain, EvmChain):
        return EvmTokens(chain)
    assert isinstance(chain, MemoryChainView)
    return MemoryTokens(chain)


@pytest.fixture(params=KINDS)
async def account(request: pytest.FixtureRequest) -> AsyncIterator[Account]:
    async with open_chain_world(request.param) as world:
        chain = await world.open(SessionKey(SECRET), SECRET, units=1_000)
        yield Account(world, chain, tokens_of(chain))


async def test_a_transfer_arrives_and_is_in_the_log(account: Account) -> None:
    tokens = account.tokens
    before = (await tokens.head()).number
    mined = await tokens.transfer(OWNER, 300)
    assert mined.succeeded
    assert await tokens.token_balance(OWNER) == 300
    assert await tokens.token_balance(tokens.account) == 700
    head = (await tokens.head()).number
    expected = TokenTransfer(to=OWNER, amount=300, transaction=mined.hash, block=mined.block)
    found, newest = await tokens.transfers_since(OWNER, before)
    assert found == [expected]
    assert newest.number >= head
    assert (await tokens.transfers_since(STRANGER, before))[0] == []
    assert (await tokens.transfers_since(OWNER, mined.block + 1))[0] == []


async def test_only_our_own_transfers_are_told(account: Account) -> None:
    other = b"\x52" * 32
    stranger = tokens_of(await account.world.open(SessionKey(other), other, units=50))
    mined = await stranger.transfer(OWNER, 50)
    assert (await account.tokens.transfers_since(OWNER, mined.block))[0] == []


async def test_more_than_there_is_cannot_be_sent(account: Account) -> None:
    mined = await account.tokens.transfer(OWNER, 1_001)
    assert not mined.succeeded
    assert await account.tokens.token_balance(OWNER) == 0


async def test_without_gas_nothing_is_sent(account: Account) -> None:
    poor = b"\x53" * 32
    tokens = tokens_of(await account.world.open(SessionKey(poor), poor, units=50, gas_wei=1))
    with pytest.raises(InvalidRequest) as refused:
        await tokens.transfer(OWNER, 50)
    assert refused.value.code == "gas_short"


async def test_what_gas_costs_and_what_the_escrow_may_take_are_known(account: Account) -> None:
    assert await account.tokens.gas_price() > 0
    escrow = account.chain.escrow
    assert await account.tokens.allowance(STRANGER, escrow) == 0
    assert await account.tokens.unmined() == 0
    assert len(account.tokens.token) == 20


async def test_a_chain_that_is_away_is_unavailable(account: Account) -> None:
    await account.world.cut()
    for question in (account.tokens.head(), account.tokens.transfers_since(OWNER, 0), account.tokens.gas_price()):
        with pytest.raises(Unavailable):
            await question
