"""A process that pays earnings out to their owner: made to be killed at any moment.

Says ``ready`` before its first step, and the number of each payout after it.
"""

from __future__ import annotations

import os
import sys
import time

import trio

from ledger.evm_chain import Sending, open_evm_chain
from ledger.evm_tokens import EvmTokens
from ledger.payout_rules import PayoutPlan
from ledger.payouts import Payouts
from ledger.sqlite_journal import open_journal
from ledger.voucher import Domain
from market.errors import Unavailable

SECRET, OWNER = b"\x61" * 32, b"\x0a" * 20
PATIENCE_MS = 1_500


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def pay_out(path: str, url: str, chain_id: int, escrow: bytes, earned: int) -> None:
    plan = PayoutPlan(to=OWNER, threshold=1)
    async with (
        open_journal(path, ballast_bytes=0) as journal,
        open_evm_chain(
            rpc_url=url,
            chain_id=chain_id,
            escrow=escrow,
            account_key=SECRET,
            confirmations=0,
            poll_ms=20,
            # As a node does, and with its key's rules: the sender itself remembers what it sent, and sends it again.
            sending=Sending(journal=journal, now_ms=now_ms, deposit_limit=1, payouts=frozenset({OWNER})),
        ) as chain,
    ):
        domain = Domain(chain_id, escrow)
        payouts = Payouts(EvmTokens(chain), journal, plan, domain, now_ms, patience_ms=PATIENCE_MS)
        await payouts.load()
        os.write(1, b"ready\n")
        while True:
            try:
                if (sent := await payouts.step(earned)) is not None:
                    os.write(1, b"%d\n" % sent.number)
            except Unavailable:
                await trio.sleep(0.1)
            if payouts.books is not None and payouts.books.paid_out >= earned and payouts.books.open is None:
                os.write(1, b"done\n")
                return


if __name__ == "__main__":
    trio.run(pay_out, sys.argv[1], sys.argv[2], int(sys.argv[3]), bytes.fromhex(sys.argv[4]), int(sys.argv[5]))
