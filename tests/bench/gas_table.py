"""What the escrow costs in gas, measured on anvil with real transactions, against the goals.

    python -m tests.bench.gas_table

Prints a table, and ends with status 1 when a goal is missed. Gas does not depend on the machine.
"""

from __future__ import annotations

import sys
from typing import Any

import trio
from eth_utils.address import to_checksum_address
from web3 import Web3

from ledger.anvil import run_anvil
from ledger.deploy import deploy, fund
from ledger.evm_reader import escrow_at, token_at
from ledger.evm_rpc import open_evm_rpc
from ledger.evm_sender import EvmSender, SendPolicy
from ledger.local_chain import DEV_KEY
from ledger.ports import LaneKey
from ledger.voucher import Domain, SessionKey, close_digest, sign_voucher

LANES = 100
GOALS = {"redeem 100": 1_080_000, "each further voucher": 10_400, "open and close a lane": 140_000}
FAR_FUTURE_S = 2**40 - 1
PAYEE = SessionKey(b"\x02" * 32)
SESSIONS = [SessionKey((1000 + i).to_bytes(32, "big")) for i in range(LANES)]


class Meter:
    """Sends calls to one contract and notes what each cost."""

    def __init__(self, sender: EvmSender, escrow: bytes) -> None:
        self.used: dict[str, int] = {}
        self.sender = sender
        self._contract = escrow_at(Web3(), escrow)
        self._escrow = escrow

    async def call(self, name: str, function: str, *arguments: Any) -> None:
        values = [to_checksum_address(a) if isinstance(a, bytes) and len(a) == 20 else a for a in arguments]
        data = self._contract.encode_abi(function, values)
        done = await self.sender.send(self._escrow, bytes.fromhex(data[2:]))
        assert done.succeeded, name
        self.used[name] = done.gas_used


def lane(payer: bytes, session: SessionKey) -> LaneKey:
    return LaneKey(payer, PAYEE.address, session.address)


async def measure() -> dict[str, int]:
    """Gas by name. Every payer of the hundred is another address, as in a market."""
    policy = SendPolicy(confirmations=0, poll_ms=2)
    async with run_anvil() as url, open_evm_rpc(url) as rpc:
        deployed = await deploy(url, DEV_KEY, exit_delay_s=1)
        sender = EvmSender(rpc, DEV_KEY, chain_id=deployed.chain_id, policy=policy)
        me = sender.account
        for account in (me, PAYEE.address):
            await fund(url, DEV_KEY, account, token=deployed.token, units=10**15)
        approve = token_at(Web3(), deployed.token).encode_abi(
            "approve", [to_checksum_address(deployed.escrow), 2**256 - 1]
        )
        await sender.send(deployed.token, bytes.fromhex(approve[2:]))
        meter = Meter(sender, deployed.escrow)
        domain = Domain(deployed.chain_id, deployed.escrow)
        await fill(meter, me)
        await redeem(meter, domain)
        await leave(meter, domain, me)
    used = meter.used
    used["each further voucher"] = (used["redeem 100"] - used["redeem 10"]) // 90
    used["open and close a lane"] = used["deposit, new lane"] + used["close together"]
    return used


async def fill(meter: Meter, me: bytes) -> None:
    payers = [session.address for session in SESSIONS]
    await meter.call("deposit, first ever", "deposit", payers[0], PAYEE.address, payers[0], 10**9)
    for payer in payers[1:]:
        await meter.call("deposit, new lane", "deposit", payer, PAYEE.address, payer, 10**9)
    await meter.call("deposit, top-up", "deposit", payers[0], PAYEE.address, payers[0], 10**9)
    for session in SESSIONS[:2]:
        await meter.call("deposit, new lane", "deposit", me, PAYEE.address, session.address, 10**9)


async def redeem(meter: Meter, domain: Domain) -> None:
    for count, cumulative in ((1, 123_456), (10, 345_678), (100, 567_890)):
        rows = [
            sign_voucher(session, domain, lane(session.address, session), cumulative).row()
            for session in SESSIONS[:count]
        ]
        await meter.call(f"redeem {count}", "redeemMany", PAYEE.address, b"".join(rows))
    await meter.call("redeem 100 spent ones", "redeemMany", PAYEE.address, b"".join(rows))


async def leave(meter: Meter, domain: Domain, me: bytes) -> None:
    signer = SESSIONS[0].address
    await meter.call("start exit", "startExit", PAYEE.address, signer)
    await meter.call("cancel exit", "cancelExit", PAYEE.address, signer)
    await meter.call("start exit", "startExit", PAYEE.address, signer)
    await trio.sleep(2.5)
    await meter.call("finish exit", "finishExit", me, PAYEE.address, signer)
    key = lane(me, SESSIONS[1])
    consent = PAYEE.sign(close_digest(domain, key, epoch=0, cumulative=10**6, deadline_s=FAR_FUTURE_S))
    arguments = (key.payer, key.payee, key.signer, 10**6, FAR_FUTURE_S, consent, b"")
    await meter.call("close together", "closeTogether", *arguments)


def main() -> int:
    used = trio.run(measure)
    missed = 0
    for name, gas in used.items():
        goal = GOALS.get(name)
        missed += goal is not None and gas > goal
        print(f"{name:24} {gas:>10,}" + (f"   goal {goal:,}: {'met' if gas <= goal else 'MISSED'}" if goal else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
