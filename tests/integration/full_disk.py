"""A provider on a disk that fills up under it, in a process of its own on a file system of its own: prints what it met.

python -m tests.integration.full_disk FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import trio

from ledger.payee import Payee
from ledger.sqlite_journal import open_journal
from ledger.voucher import Domain, sign_voucher
from market.errors import FabricError
from tests.integration.voucher_taker import CAP, LANE, LEASE, SESSION, WALLET, StillChain, now_ms

RESERVE = 256 * 1024
DOMAIN = Domain(StillChain.chain_id, StillChain.escrow)


def fill(folder: Path) -> Path:
    """Take every byte that is left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (64 * 1024, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return filler


async def take(payee: Payee, count: int) -> str:
    """Take so many vouchers of the lease; how that ended."""
    try:
        for _ in range(count):
            amount = payee.owed_cumulative(LANE) + 1
            await payee.accept(LEASE, amount, sign_voucher(SESSION, DOMAIN, LANE, amount))
    except FabricError as error:
        return error.code
    return "ok"


async def grant(payee: Payee, lease: bytes) -> str:
    """Set a deposit aside for a new lease; how that ended."""
    try:
        return "ok" if await payee.admit(lease, LANE, 1000) else "refused"
    except FabricError as error:
        return error.code


async def main(folder: Path) -> None:
    path = folder / "journal.db"
    told: dict[str, object] = {}
    async with open_journal(path, ballast_bytes=RESERVE) as journal:
        payee = Payee(StillChain(), journal, WALLET, now_ms)  # type: ignore[arg-type]
        await payee.admit(LEASE, LANE, CAP // 2)
        told["before"] = await take(payee, 3)
        filler = fill(folder)
        told["voucher in hand"] = await take(payee, 10)
        told["grant"] = [await grant(payee, b"%16d" % number) for number in range(3)]
        told["until all room is gone"] = await take(payee, 100_000)
        told["taken"] = payee.owed_cumulative(LANE)
    async with open_journal(path, ballast_bytes=RESERVE) as journal:
        payee = Payee(StillChain(), journal, WALLET, now_ms)  # type: ignore[arg-type]
        await payee.load()
        told["kept"] = payee.owed_cumulative(LANE)
        told["grant after a restart"] = await grant(payee, b"r" * 16)
        filler.unlink()
        told["grant with room"] = await grant(payee, b"g" * 16)
        told["voucher with room"] = await take(payee, 3)
        told["lanes"] = payee.summary()[0].open_leases
    print(json.dumps(told))


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
