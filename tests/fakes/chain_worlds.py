"""The three chains that the ``Chain`` port suite runs on, behind one face: in memory, embedded, and anvil.

Each is fresh, has blocks of a fraction of a second, an escrow with a short exit window, and hands out funded accounts.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Protocol

from web3 import Web3
from web3.types import RPCEndpoint

from ledger.anvil import run_anvil
from ledger.deploy import Deployment, deploy, fund
from ledger.embedded_rpc import EmbeddedRpc
from ledger.evm_chain import open_evm_chain
from ledger.evm_rpc import open_evm_rpc
from ledger.local_chain import DEV_KEY
from ledger.ports import Chain
from ledger.voucher import Domain, SessionKey
from tests.fakes.faulty_rpc import CHAIN_ID, new_chain, serve_rpc
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_chain_view import MemoryChainView

EXIT_DELAY_S = 2
BLOCK_S = 0.1
COIN = 10**18
KINDS = ("memory", "embedded", "anvil")


class ChainWorld(Protocol):
    """A chain under test."""

    @property
    def domain(self) -> Domain: ...
    async def open(self, account: SessionKey, secret: bytes, *, units: int = 10**9, gas_wei: int = COIN) -> Chain:
        """The port of an account that holds so much."""
        ...

    async def leap(self, seconds: int) -> None:
        """Let so much time have passed on the chain."""
        ...

    async def cut(self) -> None:
        """Make the chain unreachable for good."""
        ...


class SystemClock:
    """Real UTC time, and what was added to it.

    Attributes:
        ahead_s: seconds that it is ahead of the truth.
    """

    def __init__(self) -> None:
        self.ahead_s = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_s * 1000

    def now_s(self) -> float:
        return time.time() + self.ahead_s


class MemoryWorld:
    """``MemoryChain`` on real time."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._chain = MemoryChain(self._clock, exit_delay_s=EXIT_DELAY_S, block_ms=int(BLOCK_S * 1000))
        self._views: list[MemoryChainView] = []
        self.domain = self._chain.domain

    async def open(self, account: SessionKey, secret: bytes, *, units: int = 10**9, gas_wei: int = COIN) -> Chain:
        self._chain.mint(account.address, units)
        self._chain.give_gas(account.address, gas_wei)
        self._views.append(self._chain.view(account.address))
        return self._views[-1]

    async def leap(self, seconds: int) -> None:
        self._clock.ahead_s += seconds

    async def cut(self) -> None:
        for view in self._views:
            view.offline = True


class EvmWorld:
    """A JSON-RPC chain with our escrow deployed."""

    def __init__(
        self,
        url: str,
        deployed: Deployment,
        stack: AsyncExitStack,
        running: AsyncExitStack,
        clock: SystemClock | None,
    ) -> None:
        self.url = url
        self._clock = clock
        self.deployed = deployed
        self.domain = Domain(deployed.chain_id, deployed.escrow)
        self._stack = stack
        self._running = running

    async def open(self, account: SessionKey, secret: bytes, *, units: int = 10**9, gas_wei: int = COIN) -> Chain:
        await fund(self.url, DEV_KEY, account.address, token=self.deployed.token, units=units, gas_wei=gas_wei)
        return await self._stack.enter_async_context(
            open_evm_chain(
                rpc_url=self.url,
                chain_id=self.deployed.chain_id,
                escrow=self.deployed.escrow,
                token=self.deployed.token,
                account_key=secret,
                poll_ms=20,
            )
        )

    async def leap(self, seconds: int) -> None:
        if self._clock is not None:
            self._clock.ahead_s += seconds
            return
        async with open_evm_rpc(self.url) as rpc:
            for method, arguments in (("evm_increaseTime", [seconds]), ("evm_mine", [])):
                await rpc.tell(partial(_control, method=method, arguments=arguments))

    async def cut(self) -> None:
        await self._running.aclose()


@asynccontextmanager
async def open_chain_world(kind: str) -> AsyncIterator[ChainWorld]:
    """A fresh world of one of :data:`KINDS`."""
    if kind == "memory":
        yield MemoryWorld()
        return
    clock = None if kind == "anvil" else SystemClock()
    async with AsyncExitStack() as stack, AsyncExitStack() as running:
        if clock is None:
            chain = run_anvil(chain_id=CHAIN_ID, block_time_s=BLOCK_S)
        else:
            chain = serve_rpc(EmbeddedRpc(new_chain(BLOCK_S, clock.now_s)))
        url = await running.enter_async_context(chain)
        yield EvmWorld(url, await deploy(url, DEV_KEY, exit_delay_s=EXIT_DELAY_S), stack, running, clock)


def _control(web3: Web3, *, method: str, arguments: list[int]) -> None:
    answer = web3.provider.make_request(RPCEndpoint(method), arguments)
    assert "error" not in answer, answer
