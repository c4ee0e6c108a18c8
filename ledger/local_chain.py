"""A chain for development on this machine: anvil where it is installed, else the embedded one, which needs nothing."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from ledger.anvil import find_anvil, run_anvil
from ledger.chain_process import run_chain_process
from market.errors import InvalidRequest

DEV_KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
"""Secret of the first account of the phrase "test test … junk", which both chains fund. All the world knows it."""


class LocalChain(Struct, frozen=True):
    """A running chain: ``kind`` is ``"anvil"`` or ``"embedded"``."""

    url: str
    chain_id: int
    kind: str


@asynccontextmanager
async def start_local_chain(
    *,
    kind: str = "",
    chain_id: int = 31337,
    block_time_s: float = 1,
    port: int = 0,
    state_file: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> AsyncIterator[LocalChain]:
    """Run a development chain on loopback until the block is left.

    Args:
        kind: ``"anvil"``, ``"embedded"``, or empty for the first of them that this machine has.
        state_file: where to keep the chain between runs; only anvil can.
        say: told in one line which chain runs and where.

    Raises:
        InvalidRequest: ``state_needs_anvil``, ``chain_kind``.
        Unavailable: the chain does not start.
    """
    chosen = kind or ("anvil" if find_anvil() else "embedded")
    if chosen == "anvil":
        running = run_anvil(chain_id=chain_id, block_time_s=block_time_s, port=port, state_file=state_file)
    elif chosen == "embedded":
        if state_file is not None:
            raise InvalidRequest(
                "the embedded chain forgets everything at its end",
                code="state_needs_anvil",
                fix="install anvil, or go without a state file",
            )
        running = run_embedded(chain_id=chain_id, block_time_s=block_time_s, port=port)
    else:
        raise InvalidRequest(f"'{chosen}' is no kind of local chain", code="chain_kind", fix="anvil or embedded")
    async with running as url:
        say(f"local chain: {chosen}, id {chain_id}, at {url}")
        yield LocalChain(url, chain_id, chosen)


@asynccontextmanager
async def run_embedded(*, chain_id: int = 31337, block_time_s: float = 1, port: int = 0) -> AsyncIterator[str]:
    """Run the embedded chain in a process of its own and yield its address."""
    words = [sys.executable, "-m", "ledger.embedded_evm"]
    words += ["--chain-id", str(chain_id), "--block-time", str(block_time_s)]
    async with run_chain_process(lambda port: [*words, "--port", str(port)], port=port) as url:
        yield url
