"""A payer in a process of its own, to be killed: deposits once, as a node does after each start, and says how it goes.

``python -m tests.integration.deposit_sender URL CHAIN_ID ESCROW JOURNAL [stop]``; with ``stop`` it hangs between
writing its transaction down and sending it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from ledger.evm_chain import Sending, open_evm_chain
from ledger.evm_rpc import EvmRpc
from ledger.evm_sender import SendPolicy
from ledger.payer import Payer
from ledger.sqlite_journal import open_journal
from ledger.voucher import SessionKey
from market.errors import Unavailable

SECRET = b"\x51" * 32
PAYEE = SessionKey(b"\x52" * 32).address
SESSION = SessionKey(b"\x53" * 32)
LEASE = b"\x54" * 16
CAP = 700


async def deposit(url: str, chain_id: int, escrow: bytes, journal_file: Path) -> None:
    """Fund the lease's lane, whatever an earlier process of ours did for it."""
    policy = SendPolicy(confirmations=0, poll_ms=20, bump_after_s=0.3, keep_s=0.1)
    async with (
        open_journal(journal_file) as journal,
        open_evm_chain(
            rpc_url=url,
            chain_id=chain_id,
            escrow=escrow,
            account_key=SECRET,
            policy=policy,
            sending=Sending(journal=journal, now_ms=lambda: 1),
        ) as chain,
    ):
        payer = Payer(chain, journal, SESSION, lambda: 1)
        await payer.load()
        await payer.reserve(LEASE, PAYEE, CAP)
        while True:
            try:
                await payer.ensure_funded(LEASE)
            except Unavailable as error:
                say(error.code)
                await trio.sleep(0.05)
            else:
                break
    say("funded")


def say(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


def stop_before_sending() -> None:
    async def hang(_rpc: object, _send: object) -> bytes:
        say("about to send")
        await trio.sleep_forever()
        return b""

    EvmRpc.tell = hang  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    address, number, contract, file, *words = sys.argv[1:]
    if "stop" in words:
        stop_before_sending()
    trio.run(deposit, address, int(number), bytes.fromhex(contract), Path(file))
