"""kill -9 at random moments, from the first instruction on: no voucher that was taken is ever lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import trio

from ledger.lane_journal import replay
from ledger.payee import Payee
from ledger.sqlite_journal import open_journal
from tests.integration.voucher_taker import LANE, WALLET, StillChain, now_ms

ROOT = Path(__file__).resolve().parents[2]
KILLS = 60
SEED = 20260


async def run_and_kill(path: Path, random: Random) -> int:
    """Let the taker run for a random moment and kill it. The last voucher it said it had taken, or 0."""
    command = [sys.executable, "-m", "tests.integration.voucher_taker", str(path)]
    said = bytearray()
    taker = await trio.lowlevel.open_process(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert taker.stdout is not None
    try:
        with trio.move_on_after(30):
            if random.random() < 0.8:
                said += await taker.stdout.receive_some()
            # Some die while they start, most in the middle of their work.
            with trio.move_on_after(random.uniform(0.0, 0.12)):
                while chunk := await taker.stdout.receive_some():
                    said += chunk
    finally:
        taker.kill()
        with trio.CancelScope(shield=True):
            await taker.wait()
    while chunk := await taker.stdout.receive_some():
        said += chunk
    whole_lines = said[: said.rfind(b"\n") + 1].split()
    return int(whole_lines[-1]) if whole_lines else 0


@pytest.mark.processes
async def test_no_voucher_that_was_taken_is_lost_to_a_kill(tmp_path: Path) -> None:
    random = Random(SEED)
    path = tmp_path / "journal.db"
    taken = 0
    alive_long_enough = 0
    for kill in range(KILLS):
        said = await run_and_kill(path, random)
        alive_long_enough += said > 0
        taken = max(taken, said)
        async with open_journal(path, ballast_bytes=0) as journal:
            payee = Payee(StillChain(), journal, WALLET, now_ms)  # type: ignore[arg-type]
            await payee.load()
            kept = payee.owed_cumulative(LANE)
            assert kept >= taken, f"kill {kill} of seed {SEED}: taken {taken}, kept {kept}"
            if kill == KILLS - 1:
                [stream] = await journal.streams("paid/")
                assert await replay(journal, stream) == payee._lanes.books(LANE)
        taken = kept
    assert alive_long_enough > KILLS // 2
    assert taken > KILLS
