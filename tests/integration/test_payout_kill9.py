"""kill -9 at random moments on a real chain and a real journal: every unit earned reaches its owner, and none twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import trio

from ledger.deploy import Deployment, deploy, fund
from ledger.evm_reader import open_evm_reader
from ledger.local_chain import DEV_KEY, LocalChain, start_local_chain
from ledger.payouts import PayoutBooks
from ledger.sqlite_journal import open_journal
from ledger.voucher import SessionKey
from market.codec import unpack_record
from tests.integration.payout_sender import OWNER, SECRET

ROOT = Path(__file__).resolve().parents[2]
KILLS, MOST_KILLS = 8, 40
SEED = 777
SAVINGS = 10**9
"""What the account holds beside its earnings: a payout sent twice would be taken from here."""


class Bench:
    """A chain, an account on it, and its journal."""

    def __init__(self, local: LocalChain, deployed: Deployment, path: Path) -> None:
        self._local = local
        self._deployed = deployed
        self._path = path
        self.earned = 0

    async def earn(self, amount: int, *, gas_wei: int = 0) -> None:
        account = SessionKey(SECRET).address
        token = self._deployed.token
        await fund(self._local.url, DEV_KEY, account, token=token, units=amount, gas_wei=gas_wei)

    async def run(self, moment_s: float | None) -> bytes:
        """Let the sender run, and kill it so long after it is ready; without a moment it may finish."""
        words = (str(self._path), self._local.url, str(self._local.chain_id), self._deployed.escrow.hex())
        command = [sys.executable, "-m", "tests.integration.payout_sender", *words, str(self.earned)]
        said = bytearray()
        sender = await trio.lowlevel.open_process(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert sender.stdout is not None
        try:
            with trio.fail_after(60):
                while b"ready" not in said and (chunk := await sender.stdout.receive_some()):
                    said += chunk
                with trio.move_on_after(60 if moment_s is None else moment_s):
                    while chunk := await sender.stdout.receive_some():
                        said += chunk
        finally:
            sender.kill()
            with trio.CancelScope(shield=True):
                await sender.wait()
        return bytes(said)

    async def owned(self) -> int:
        deployed = self._deployed
        async with open_evm_reader(self._local.url, chain_id=deployed.chain_id, escrow=deployed.escrow) as reader:
            return await reader.token_balance(OWNER)

    async def books(self) -> PayoutBooks:
        async with open_journal(self._path, ballast_bytes=0) as journal:
            found = list((await journal.get_all("payouts/")).values())
        return unpack_record(found[0], PayoutBooks) if found else PayoutBooks(began_ms=0)


@pytest.mark.processes
@pytest.mark.chain
@pytest.mark.timeout(400)
async def test_every_unit_earned_reaches_the_owner_once(tmp_path: Path) -> None:
    random = Random(SEED)
    left_open = 0
    async with start_local_chain(kind="embedded", block_time_s=0.2) as local:
        bench = Bench(local, await deploy(local.url, DEV_KEY, exit_delay_s=60), tmp_path / "journal.db")
        await bench.earn(SAVINGS, gas_wei=10**18)
        for kill in range(1, MOST_KILLS + 1):
            more = random.randrange(1, 10**6)
            await bench.earn(more)
            bench.earned += more
            await bench.run(random.uniform(0.0, 0.12))
            assert await bench.owned() <= bench.earned
            left_open += (await bench.books()).open is not None
            if kill >= KILLS and left_open:
                break
        assert b"done" in await bench.run(None)
        books = await bench.books()
        assert await bench.owned() == bench.earned == books.paid_out
    assert left_open, "no kill fell between the journal and the answer: the test shows nothing"
