"""What money costs in time: vouchers signed and checked on one core, and what the journal takes. Nothing is asserted.

    python -m tests.bench money

Vouchers stand beside eth-account's own encoding of the same typed data, which must give the same signature. Figures of
vouchers are per second of processor time. The journal is on this machine's temporary folder, every commit synced;
*busy* means that trio's loop computes in slices of two milliseconds without a pause, as on a node in a burst of gossip.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
from eth_account import Account
from eth_account.messages import encode_typed_data

from ledger.payee import Payee
from ledger.ports import LaneKey, NewEntry
from ledger.sqlite_journal import open_journal
from ledger.voucher import Domain, SessionKey, check_voucher, sign_voucher
from tests.integration.voucher_taker import StillChain, now_ms

SECRET = b"\x03" * 32
KEY = SessionKey(SECRET)
WALLET = SessionKey(b"\x02" * 32)
DOMAIN = Domain(StillChain.chain_id, StillChain.escrow)
LANE = LaneKey(payer=b"\x01" * 20, payee=WALLET.address, signer=KEY.address)
VOUCHERS, PEERS = 3000, 300
LEASES, APPENDS = 32, 40
SLICE_S = 0.002
_FIELDS = [("payer", "address"), ("provider", "address"), ("cumulative", "uint96")]
_TYPES = {"Voucher": [{"name": name, "type": kind} for name, kind in _FIELDS]}


def main(words: object = ()) -> None:
    """Measure and print."""
    rows = [*voucher_rows(), *trio.run(journal_rows)]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    for name, figure, goal in [("WHAT", "PER SECOND", "GOAL"), *rows]:
        print(f"{name:<62}{figure:>12}  {goal}")


def voucher_rows() -> list[tuple[str, str, str]]:
    """Ours and the peer's, taken in turns so that both see the same machine."""
    amounts = [random.Random(1).randrange(2**96) for _ in range(VOUCHERS)]
    vouchers = [sign_voucher(KEY, DOMAIN, LANE, amount) for amount in amounts]
    theirs = [_their_sign(amount) for amount in amounts[:PEERS]]
    same = all(_compact(their) == ours.signature for their, ours in zip(theirs, vouchers[:PEERS], strict=True))
    sign = _rate(lambda amount: sign_voucher(KEY, DOMAIN, LANE, amount), amounts)
    check = _rate(lambda voucher: check_voucher(DOMAIN, voucher), vouchers)
    their_sign = _rate(_their_sign, amounts[:PEERS])
    their_check = _rate(_their_check, list(zip(amounts, theirs, strict=False)))
    both, their_both = 1 / (1 / sign + 1 / check), 1 / (1 / their_sign + 1 / their_check)
    return [
        ("voucher signed", f"{sign:,.0f}", ""),
        ("voucher checked", f"{check:,.0f}", ""),
        ("voucher signed and checked, one core", f"{both:,.0f}", ">= 5,000"),
        (f"the same by eth-account ({'same' if same else 'OTHER'} signatures)", f"{their_both:,.0f}", "the peer"),
    ]


async def journal_rows() -> list[tuple[str, str, str]]:
    """Appends of a fact and a lane's books, as every tick makes them; and whole ticks of a payee."""
    rows = []
    for busy, goal in ((False, ""), (True, ">= 300")):
        kind = "busy" if busy else "idle"
        for leases in (1, LEASES):
            rate = await _appends(leases, busy=busy)
            told = f"journal transactions, node {kind}, {leases} lease{'s' * (leases > 1)} at once"
            rows.append((told, f"{rate:,.0f}", goal if leases > 1 else ""))
    rows.append((f"vouchers taken by a payee (checked, on disk), {LEASES} lanes", f"{await _ticks():,.0f}", ""))
    return rows


async def _appends(leases: int, *, busy: bool) -> float:
    with tempfile.TemporaryDirectory(prefix="cfab-bench-") as folder:
        async with open_journal(Path(folder) / "journal.db", ballast_bytes=0) as journal, trio.open_nursery() as other:
            if busy:
                other.start_soon(_compute)

            async def lease(number: int) -> None:
                for _ in range(APPENDS):
                    fact = NewEntry(stream=f"lane/{number}", kind="AmountVouched", at_ms=1, body=b"x" * 300)
                    await journal.append([fact], {f"lane/{number}": b"y" * 600}, urgent=True)

            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for number in range(leases):
                    nursery.start_soon(lease, number)
            took = time.perf_counter() - began
            other.cancel_scope.cancel()
    return leases * APPENDS / took


async def _ticks() -> float:
    lanes = [LaneKey(bytes([n]) * 20, WALLET.address, KEY.address) for n in range(1, LEASES + 1)]
    vouchers = {lane: [sign_voucher(KEY, DOMAIN, lane, n) for n in range(1, APPENDS + 1)] for lane in lanes}
    with tempfile.TemporaryDirectory(prefix="cfab-bench-") as folder:
        async with open_journal(Path(folder) / "journal.db", ballast_bytes=0) as journal:
            payee = Payee(StillChain(), journal, WALLET, now_ms)  # type: ignore[arg-type]
            for lane in lanes:
                await payee.admit(lane.payer[:16], lane, APPENDS)

            async def pay(lane: LaneKey) -> None:
                for voucher in vouchers[lane]:
                    await payee.accept(lane.payer[:16], voucher.cumulative, voucher)

            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for lane in lanes:
                    nursery.start_soon(pay, lane)
            return LEASES * APPENDS / (time.perf_counter() - began)


async def _compute() -> None:
    while True:
        until = time.perf_counter() + SLICE_S
        while time.perf_counter() < until:
            sum(range(100))
        await trio.lowlevel.checkpoint()


def _rate(call: Callable[[Any], object], given: list[Any]) -> float:
    began = time.process_time()
    for one in given:
        call(one)
    return len(given) / (time.process_time() - began)


def _their_message(amount: int) -> Any:
    domain = {
        "name": "ComputeFabric Escrow",
        "version": "1",
        "chainId": DOMAIN.chain_id,
        "verifyingContract": "0x" + DOMAIN.escrow.hex(),
    }
    values = {"payer": "0x" + LANE.payer.hex(), "provider": "0x" + LANE.payee.hex(), "cumulative": amount}
    return encode_typed_data(domain, _TYPES, values)


def _their_sign(amount: int) -> Any:
    return Account.sign_message(_their_message(amount), SECRET)


def _their_check(given: tuple[int, Any]) -> bool:
    amount, signed = given
    return bool(Account.recover_message(_their_message(amount), signature=signed.signature) == KEY.address)


def _compact(signed: Any) -> bytes:
    with_parity = signed.s | ((signed.v - 27) << 255)
    return bytes(signed.r.to_bytes(32, "big") + with_parity.to_bytes(32, "big"))
