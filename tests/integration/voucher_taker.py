"""A process that takes vouchers as fast as it can and says so after each: made to be killed at any moment."""

from __future__ import annotations

import os
import sys
import time

import trio

from ledger.payee import Payee
from ledger.ports import ChainHead, LaneKey, LaneOnChain
from ledger.sqlite_journal import open_journal
from ledger.voucher import Domain, SessionKey, sign_voucher

LEASE = b"l" * 16
CAP = 10**12
WALLET, SESSION = SessionKey(b"\x02" * 32), SessionKey(b"\x03" * 32)
LANE = LaneKey(payer=b"\x01" * 20, payee=WALLET.address, signer=SESSION.address)


class StillChain:
    """A chain on which one lane is funded and nothing ever happens."""

    account = WALLET.address
    chain_id = 31337
    escrow = b"\x0e" * 20
    exit_delay_s = 86_400

    async def lane(self, key: LaneKey, *, confirmations: int = 0) -> LaneOnChain:
        await trio.lowlevel.checkpoint()
        return LaneOnChain(balance=CAP)

    async def head(self) -> ChainHead:
        await trio.lowlevel.checkpoint()
        return ChainHead(number=1, hash=bytes(32), timestamp=int(time.time()))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def take_vouchers(path: str) -> None:
    domain = Domain(StillChain.chain_id, StillChain.escrow)
    async with open_journal(path, ballast_bytes=0) as journal:
        payee = Payee(StillChain(), journal, WALLET, now_ms)  # type: ignore[arg-type]
        await payee.load()
        assert await payee.admit(LEASE, LANE, CAP)
        while True:
            amount = payee.owed_cumulative(LANE) + 1
            await payee.accept(LEASE, amount, sign_voucher(SESSION, domain, LANE, amount))
            os.write(1, b"%d\n" % amount)


if __name__ == "__main__":
    trio.run(take_vouchers, sys.argv[1])
