"""What the escrow costs in gas, against the goals and against what is written down in ``ledger/contracts/gas.json``.

    python -m tests.bench.gas_table            print the table; status 1 when a goal is missed or a line grew
    python -m tests.bench.gas_table --write    write the file anew

Runs the shipped code in process, a fresh EVM for each transaction, so that all storage is cold and calldata is paid
for: the same gas, to the unit, that a node's receipts show (``tests/integration/test_evm_chain.py`` holds it to anvil).
Gas does not depend on the machine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from eth_utils.address import to_checksum_address
from web3 import Web3

from ledger.artifact import load_artifact
from ledger.create2 import FACTORY, FACTORY_CODE, SALT, DelayTerms, escrow_address, escrow_init_code
from ledger.evm_reader import escrow_at, token_at
from ledger.ports import LaneKey, TokenDomain
from ledger.revm_world import BlockContext, Call, EvmAccount, State, execute
from ledger.token_signatures import authorization_digest, permit_digest
from ledger.voucher import Domain, SessionKey, close_digest, release_digest, sign_voucher
from tests.fakes.escrow_on_revm import split
from tests.fakes.statements import GRANT, statement_digest

FILE = Path(__file__).parents[2] / "ledger" / "contracts" / "gas.json"
LANES = 100
GOALS = {"redeem 100": 1_080_000, "each further voucher": 10_400, "open and close a lane": 140_000}
GROWTH = 0.005
"""A line may grow by so much before somebody has to say that it is meant."""
FAR_FUTURE_S = 2**40 - 1
NOW_S = 1_800_000_000
CHAIN_ID = 31337
TERMS = DelayTerms()
PAYEE = SessionKey(b"\x02" * 32)
ME = SessionKey(b"\x03" * 32)
OTHER = SessionKey(b"\x04" * 32)
SESSIONS = [SessionKey((1000 + i).to_bytes(32, "big")) for i in range(LANES)]


class Meter:
    """A chain with an escrow, which notes what each call costs.

    Attributes:
        used: gas by name; a name measured twice keeps the later figure.
    """

    def __init__(self) -> None:
        self.used: dict[str, int] = {}
        self.now_s = NOW_S
        start = {hex_of(key.address): EvmAccount(balance=10**20) for key in (ME, OTHER, PAYEE)}
        self._state: State = {**start, hex_of(FACTORY): EvmAccount(nonce=1, code=FACTORY_CODE)}
        made = self._execute(ME, None, load_artifact("TestToken").bytecode)
        self.token = bytes.fromhex(str(made.created)[2:])
        self.domain = Domain(CHAIN_ID, escrow_address(self.token, TERMS))
        self.used["deploy"] = self._execute(ME, FACTORY, SALT + escrow_init_code(self.token, TERMS)).gas_used
        self._escrow = escrow_at(Web3(), self.domain.escrow)
        self._token = token_at(Web3(), self.token)
        for key in (ME, OTHER, PAYEE):
            self._token_call(key, "mint", key.address, 10**15)
        for key in (ME, PAYEE):
            self._token_call(key, "approve", self.domain.escrow, 2**256 - 1)

    def call(self, name: str, sender: SessionKey, function: str, *arguments: Any) -> None:
        """Send a call to the escrow and note its gas."""
        data = self._escrow.encode_abi(function, _texts(arguments))
        done = self._execute(sender, self.domain.escrow, bytes.fromhex(data[2:]))
        assert done.succeeded, f"{name}: {load_artifact('Escrow').error_name(done.output)}"
        self.used[name] = done.gas_used

    def _token_call(self, sender: SessionKey, function: str, *arguments: Any) -> None:
        data = self._token.encode_abi(function, _texts(arguments))
        assert self._execute(sender, self.token, bytes.fromhex(data[2:])).succeeded

    def _execute(self, sender: SessionKey, to: bytes | None, data: bytes) -> Any:
        call = Call(hex_of(sender.address), hex_of(to) if to else None, data)
        done = execute(self._state, call, BlockContext(CHAIN_ID, 1, self.now_s))
        self._state = done.state
        return done


def measure() -> dict[str, int]:
    """Gas by name. Every payer of the hundred is another address, as in a market."""
    meter = Meter()
    fill(meter)
    redeem(meter)
    leave(meter)
    stake(meter)
    used = meter.used
    used["each further voucher"] = (used["redeem 100"] - used["redeem 10"]) // 90
    used["open and close a lane"] = used["deposit, new lane"] + used["close together"]
    return used


def fill(meter: Meter) -> None:
    payers = [session.address for session in SESSIONS]
    meter.call("deposit, first ever", ME, "deposit", payers[0], PAYEE.address, payers[0], 10**9)
    for payer in payers[1:-10]:
        meter.call("deposit, new lane", ME, "deposit", payer, PAYEE.address, payer, 10**9)
    many = [(payer, PAYEE.address, payer, 10**9, 0) for payer in payers[-10:]]
    meter.call("deposit into 10 new lanes at once", ME, "depositMany", many)
    meter.call("deposit, top-up", ME, "deposit", payers[0], PAYEE.address, payers[0], 10**9)
    deposit_by_signature(meter)
    for session in SESSIONS[:2]:
        meter.call("deposit, new lane", ME, "deposit", ME.address, PAYEE.address, session.address, 10**9)


def deposit_by_signature(meter: Meter) -> None:
    source = TokenDomain(name="ComputeFabric Test Dollar", version="1", chain_id=CHAIN_ID, token=meter.token)
    escrow, until = meter.domain.escrow, FAR_FUTURE_S
    digest = permit_digest(source, owner=OTHER.address, spender=escrow, value=10**9, nonce=0, deadline_s=until)
    own, signed = parties(lane(OTHER.address, SESSIONS[2])), split(OTHER.sign(digest))
    meter.call("deposit with permit, new lane", OTHER, "depositWithPermit", *own, 10**9, until, *signed)
    mine, salt = lane(ME.address, SESSIONS[3]), bytes(32)
    digest = authorization_digest(source, escrow=escrow, lane=mine, value=10**9, salt=salt, until_s=until)
    arguments = (*parties(mine), 10**9, 0, until, salt, *split(ME.sign(digest)))
    meter.call("deposit with authorization, new lane", OTHER, "depositWithAuthorization", *arguments)


def redeem(meter: Meter) -> None:
    for count, cumulative in ((1, 123_456), (10, 345_678), (100, 567_890)):
        meter.call(f"redeem {count}", OTHER, "redeemMany", PAYEE.address, packed(meter, count, cumulative))
    meter.call("redeem 100 spent ones", OTHER, "redeemMany", PAYEE.address, packed(meter, 100, 567_890))
    meter.call("redeem 1 to another address", PAYEE, "redeemManyTo", OTHER.address, packed(meter, 1, 600_000))


def packed(meter: Meter, count: int, cumulative: int) -> bytes:
    signed = (sign_voucher(one, meter.domain, lane(one.address, one), cumulative) for one in SESSIONS[:count])
    return b"".join(voucher.row() for voucher in signed)


def leave(meter: Meter) -> None:
    signer = SESSIONS[0].address
    meter.call("start exit", ME, "startExit", PAYEE.address, signer)
    meter.call("cancel exit", ME, "cancelExit", PAYEE.address, signer)
    meter.call("start exit", ME, "startExit", PAYEE.address, signer)
    meter.now_s += TERMS.exit_delay_s
    meter.call("finish exit", ME, "finishExit", ME.address, PAYEE.address, signer)
    key = lane(ME.address, SESSIONS[1])
    consent = PAYEE.sign(release_digest(meter.domain, key, epoch=0, new_balance=10**8, deadline_s=FAR_FUTURE_S))
    meter.call("release", ME, "release", PAYEE.address, key.signer, 10**8, FAR_FUTURE_S, consent)
    close(meter, "close together", ME, key, epoch=1)
    close(meter, "close together, relayed", OTHER, lane(ME.address, SESSIONS[3]), epoch=0)


def close(meter: Meter, name: str, sender: SessionKey, key: LaneKey, *, epoch: int) -> None:
    digest = close_digest(meter.domain, key, epoch=epoch, cumulative=10**6, deadline_s=FAR_FUTURE_S)
    consents = (PAYEE.sign(digest), ME.sign(digest) if sender is not ME else b"")
    meter.call(name, sender, "closeTogether", *parties(key), 10**6, FAR_FUTURE_S, *consents)


def stake(meter: Meter) -> None:
    meter.call("add stake", PAYEE, "addStake", 10**9)
    meter.call("leave stake", PAYEE, "leaveStake")
    bodies = [b"\x0a" * 32, b"\x0b" * 32]
    digests = [statement_digest(meter.domain, GRANT, b"\x0c" * 32, 7, body) for body in bodies]
    proof = [part for body, digest in zip(bodies, digests, strict=True) for part in (body, PAYEE.sign(digest))]
    meter.call("slash", OTHER, "slashEquivocation", PAYEE.address, GRANT, b"\x0c" * 32, 7, *proof)
    meter.now_s += 2 * 255 * TERMS.step_s
    meter.call("take stake", PAYEE, "takeStake")


def lane(payer: bytes, session: SessionKey) -> LaneKey:
    return LaneKey(payer, PAYEE.address, session.address)


def parties(key: LaneKey) -> tuple[bytes, bytes, bytes]:
    return key.payer, key.payee, key.signer


def hex_of(address: bytes) -> str:
    return "0x" + address.hex()


def complaints(used: dict[str, int], kept: dict[str, int]) -> list[str]:
    """Why these figures may not stand: a goal missed, a line that grew, or one that is not in the file."""
    found = [f"{name}: {used[name]:,}, the goal is {goal:,}" for name, goal in GOALS.items() if used[name] > goal]
    found += [
        f"{name}: {gas:,}, was {kept[name]:,}"
        for name, gas in used.items()
        if name in kept and gas > kept[name] * (1 + GROWTH)
    ]
    return found + [f"{name}: only one of file and measurement has it" for name in sorted(set(used) ^ set(kept))]


def _texts(arguments: Any) -> Any:
    if isinstance(arguments, list | tuple):
        return [_texts(argument) for argument in arguments]
    is_address = isinstance(arguments, bytes) and len(arguments) == 20
    return to_checksum_address(arguments) if is_address else arguments


def main(words: list[str]) -> int:
    used = measure()
    if words == ["--write"]:
        FILE.write_text(json.dumps(used, indent=2) + "\n")
    kept: dict[str, int] = json.loads(FILE.read_text())
    for name, gas in used.items():
        goal = GOALS.get(name)
        change = f"{(gas / kept[name] - 1) * 100:+.2f} %" if name in kept else "new"
        verdict = f"   goal {goal:,}: {'met' if gas <= goal else 'MISSED'}" if goal else ""
        print(f"{name:38} {gas:>10,} {change:>9}{verdict}")
    found = complaints(used, kept)
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
