"""Finding and running anvil, the development chain of the Foundry tools, when this machine has it."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from ledger.chain_process import run_chain_process
from market.errors import Unavailable

_NPM_FOLDER = Path(__file__).resolve().parent.parent / "tools" / "npm" / "node_modules"


def find_anvil(environment: Mapping[str, str] = os.environ) -> str | None:
    """The program's path: ``CFAB_ANVIL``, else in ``PATH``, else what ``npm ci --prefix tools/npm`` put into a
    checkout."""
    named = environment.get("CFAB_ANVIL")
    if named:
        return named
    found = shutil.which("anvil", path=environment.get("PATH"))
    if found:
        return found
    # Straight to the platform's binary: npm's own launcher is a node script, which need not survive its child.
    binaries = sorted(_NPM_FOLDER.glob("@foundry-rs/anvil-*/bin/anvil"))
    return str(binaries[0]) if binaries else None


@asynccontextmanager
async def run_anvil(
    *,
    chain_id: int = 31337,
    block_time_s: float = 1,
    port: int = 0,
    state_file: Path | None = None,
    extra: tuple[str, ...] = (),
) -> AsyncIterator[str]:
    """Run anvil and yield its address. It mines each transaction at once, and an empty block every ``block_time_s``.

    Args:
        port: loopback port; 0 takes a free one.
        state_file: kept up to date and read again at the next start, so that a devnet can be stopped and continued.
        extra: further words of its command line.

    Raises:
        Unavailable: ``anvil_missing``, or it does not start.
    """
    program = find_anvil()
    if program is None:
        raise Unavailable(
            "anvil is not installed", code="anvil_missing", fix="npm ci --prefix tools/npm, or set CFAB_ANVIL"
        )
    # Both kinds of mining: nobody waits for a block, and time still moves when nothing happens, as exits need.
    mining = ["--mixed-mining", "--block-time", str(block_time_s)]
    state = ["--state", str(state_file), "--state-interval", "2"] if state_file else []
    words = [program, "--host", "127.0.0.1", "--chain-id", str(chain_id), *mining, *state, *extra]
    async with run_chain_process(lambda port: [*words, "--port", str(port)], port=port) as url:
        yield url
