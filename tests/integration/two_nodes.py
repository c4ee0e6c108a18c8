"""A provider and a requester as real processes, a chain, real journals and containers: made to be killed at any moment.

    python -m tests.integration.two_nodes [MOMENTS [SEED]]

Prints one line per moment, and what the sums were at the end.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import trio

from ledger.evm_chain import open_evm_chain
from ledger.lane import LaneBooks
from ledger.sqlite_check import examine
from market.codec import unpack_record
from market.errors import FabricError
from node.control import TERMINAL_EVENTS
from node.devnet import local_market
from node.devnet.local_market import LocalMarket
from node.home import JOURNAL_FILE
from runtime.job_image import DEFAULT_TAG, ensure_job_image

PROVIDER, REQUESTER = "north", "requester"
NODES = ("introducer", PROVIDER, REQUESTER)
TOKENS = 100_000_000
JOB_S = 8
"""Short, so that deaths fall into every stage of a job: funding, running, the last payment, the close."""
_SPEC = {
    "image": DEFAULT_TAG,
    "command": ["sleep", "600"],
    "max_duration_ms": JOB_S * 1000,
    "requirements": {"cpu_milli": 500, "memory_mib": 128, "disk_mib": 64},
}
_REQUEST = {"name": "long", "spec": _SPEC, "max_price": 138_888, "max_total": 100_000}
_OVER_TIMEOUT_S = 180.0


class TwoNodes:
    """The market of the demo with one provider in it."""

    def __init__(self, folder: Path, random: Random) -> None:
        self.market = LocalMarket(folder, outlive=False)
        self.random = random
        self.kills: Counter[str] = Counter()

    async def raise_up(self) -> None:
        """Start everything and wait for the provider's offer."""
        await ensure_job_image()
        with mock.patch.multiple(local_market, NODES=NODES, TRADERS=NODES[1:]):
            await self.market.raise_up()
        await self.market.wait_offers(1)

    async def moment(self) -> str:
        """Let them trade for a random time, kill one of them or both, look at what is on disk, start them again."""
        await self.keep_busy()
        await trio.sleep(self.random.uniform(0.05, 3.0))
        dead = self.random.choice(((PROVIDER,), (REQUESTER,), (PROVIDER,), (REQUESTER,), (PROVIDER, REQUESTER)))
        for name in dead:
            os.kill(self.market.processes.tickets()[name].pid, signal.SIGKILL)
        for name in dead:
            await self.market.processes.wait_exit(name)
        told = self.check_books()
        for name in dead:
            self.market.start_node(name)
            self.kills[name] += 1
        for name in dead:
            await self.answers(name)
        return f"killed {' and '.join(dead):<19} {told}"

    def check_books(self) -> str:
        """Both journals are whole, and the payee counts nothing that the payer did not write down first."""
        earned, signed = self.books(PROVIDER), self.books(REQUESTER)
        for name in (PROVIDER, REQUESTER):
            examine(self.journal(name))
        assert earned <= signed, f"the provider counts {earned}, the requester signed {signed}"
        return f"signed {signed}, held by the provider {earned}"

    def journal(self, name: str) -> Path:
        return self.market.seats[name].home / JOURNAL_FILE

    def books(self, name: str) -> int:
        """What a node's journal says the newest voucher of its lane is for."""
        with closing(sqlite3.connect(f"{self.journal(name).as_uri()}?mode=ro", uri=True)) as found:
            rows = found.execute("select value from value where key glob 'pa*/lane/*'").fetchall()
        return sum(unpack_record(row[0], LaneBooks).signed for row in rows)

    async def keep_busy(self) -> None:
        """Submit a job when none runs."""
        client = self.market.client(REQUESTER)
        with suppress(FabricError):
            jobs = await trio.to_thread.run_sync(lambda: client.get("jobs"))
            if all(job["state"] in TERMINAL_EVENTS for job in jobs):
                await trio.to_thread.run_sync(lambda: client.post("jobs", body=_REQUEST))

    async def answers(self, name: str) -> None:
        """Wait until a node's API answers."""
        with trio.fail_after(60):
            while True:
                with suppress(FabricError):
                    await trio.to_thread.run_sync(lambda: self.market.client(name).get("status"))
                    return
                await trio.sleep(0.05)

    async def settle(self) -> dict[str, Any]:
        """Let all jobs come to their end and the lane be closed; every sum there is."""
        client = self.market.client(REQUESTER)
        jobs = await trio.to_thread.run_sync(lambda: client.get("jobs"))
        for job in jobs:
            with suppress(FabricError):
                await trio.to_thread.run_sync(lambda job=job: client.post("jobs", job["job"], "cancel"))
        chain = self.market.chain
        assert chain is not None
        async with open_evm_chain(
            rpc_url=chain.rpc, chain_id=chain.chain_id, escrow=chain.escrow, token=chain.token, account_key=b"\1" * 32
        ) as view:
            with trio.move_on_after(_OVER_TIMEOUT_S):
                while await view.token_balance(chain.escrow) or self.books(PROVIDER) != await view.token_balance(
                    self.market.accounts[PROVIDER]
                ):
                    await trio.sleep(0.5)
            paid, kept, held = [
                await view.token_balance(account)
                for account in (self.market.accounts[PROVIDER], self.market.accounts[REQUESTER], chain.escrow)
            ]
        receipts = await trio.to_thread.run_sync(lambda: client.get("receipts"))
        return {
            "paid": paid,
            "kept": kept,
            "held": held,
            "signed": self.books(REQUESTER),
            "earned": self.books(PROVIDER),
            "receipts": len(receipts),
            "receipts' sum": sum(one["amount"]["units"] for one in receipts),
        }


async def kill_at(moments: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kill so many times; the sums at the end."""
    nodes = TwoNodes(folder, Random(seed))
    try:
        await nodes.raise_up()
        began = time.monotonic()
        for number in range(1, moments + 1):
            print(f"{time.monotonic() - began:6.1f} s  moment {number:3}: {await nodes.moment()}", flush=True)
        found = await nodes.settle()
        return {**found, "kills": dict(nodes.kills), "moments": moments, "seed": seed}
    finally:
        nodes.market.take_down()


def exact(found: dict[str, Any]) -> bool:
    """Whether not a unit is missing: in the wallets, in the books of both sides, in the receipts."""
    whole = found["paid"] + found["kept"] + found["held"] == TOKENS and found["held"] == 0
    return whole and found["paid"] == found["signed"] == found["earned"] == found["receipts' sum"]


def main(words: list[str]) -> None:
    moments, seed = (*map(int, words), *(100, 1)[len(words) :])
    with tempfile.TemporaryDirectory(prefix="cfab-kill-") as folder:
        found = trio.run(kill_at, moments, seed, Path(folder))
    print(json.dumps(found))
    print("exact" if exact(found) else "NOT exact")
    raise SystemExit(not exact(found))


if __name__ == "__main__":
    main(sys.argv[1:])
