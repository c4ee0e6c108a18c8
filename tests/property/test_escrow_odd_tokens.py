"""The shipped escrow beside tokens that are not as tokens should be: with fees, hooks, no answers, no permits (A11)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from eth_abi.abi import decode

from ledger.artifact import load_artifact
from ledger.create2 import DelayTerms
from ledger.ports import Contradiction, LaneDeposit, LaneKey
from ledger.voucher import SessionKey, close_digest, release_digest, sign_voucher
from tests.fakes.escrow_on_revm import EVERYTHING, FUNDER, EscrowOnRevm, calldata
from tests.fakes.stake_model import RevertError
from tests.fakes.statements import RECEIPT, statement_digest

TERMS = DelayTerms(60, 60)
PAYER, PAYEE, SESSION = SessionKey(b"\x11" * 32), SessionKey(b"\x22" * 32), SessionKey(b"\x44" * 32)
LANE = LaneKey(PAYER.address, PAYEE.address, SESSION.address)
START_S = 1_800_000_000
FAR_FUTURE_S = 2**40 - 1
NO_SIGNATURE = bytes(64)
PARTS = (LANE.payer, LANE.payee, LANE.signer)


def escrow_of(token: str) -> EscrowOnRevm:
    made = EscrowOnRevm(terms=TERMS, funds=10**9, token=token)
    made.set_time(START_S)
    for account in (PAYER.address, PAYEE.address):
        made.mint(account, 10**6)
        made.approve(account, EVERYTHING)
    return made


def row(escrow: EscrowOnRevm, cumulative: int) -> bytes:
    return sign_voucher(SESSION, escrow.domain, LANE, cumulative).row()


WAYS_IN: dict[str, Callable[[EscrowOnRevm], None]] = {
    "deposit": lambda e: e.deposit(LANE, 1000),
    "deposit many": lambda e: e.deposit_many([LaneDeposit(lane=LANE, amount=1000)] * 2, step_s=60),
    "by permit": lambda e: e.deposit_with_permit(FUNDER, LANE, 1000, deadline_s=FAR_FUTURE_S, permit=NO_SIGNATURE),
    "by authorization": lambda e: e.deposit_with_authorization(
        PAYER.address, LANE, 1000, until_s=FAR_FUTURE_S, salt=bytes(32), signature=NO_SIGNATURE
    ),
    "stake": lambda e: e.add_stake(PAYEE.address, 1000),
}


@pytest.mark.parametrize("way", WAYS_IN)
def test_a_token_that_keeps_a_fee_is_refused_whatever_the_way_in(way: str) -> None:
    escrow = escrow_of("FeeToken")
    with pytest.raises(RevertError, match="TokenTookAFee"):
        WAYS_IN[way](escrow)
    assert escrow.token_balance(escrow.domain.escrow) == 0
    assert (escrow.lane(LANE).balance, escrow.stake_of(PAYEE.address).amount) == (0, 0)
    assert escrow.token_balance(FUNDER) == 10**9


@pytest.mark.parametrize("token", ["HookToken", "TinyToken"])
@pytest.mark.parametrize("way", WAYS_IN)
def test_a_token_without_signatures_is_paid_in_by_allowance(token: str, way: str) -> None:
    escrow = escrow_of(token)
    WAYS_IN[way](escrow)
    assert escrow.token_balance(escrow.domain.escrow) in (1000, 2000)


def test_a_token_that_answers_nothing_goes_in_and_out_to_the_unit() -> None:
    escrow = escrow_of("SilentToken")
    escrow.deposit(LANE, 1000)
    escrow.deposit_with_permit(FUNDER, LANE, 500, deadline_s=FAR_FUTURE_S, permit=NO_SIGNATURE)
    assert escrow.redeem_many(PAYEE.address, [row(escrow, 600)]) == 600
    escrow.start_exit(PAYER.address, PAYEE.address, SESSION.address)
    escrow.set_time(START_S + TERMS.exit_delay_s)
    escrow.finish_exit(LANE)
    assert escrow.token_balance(PAYEE.address) == 10**6 + 600
    assert escrow.token_balance(PAYER.address) == 10**6 + 900
    assert escrow.token_balance(escrow.domain.escrow) == 0


@pytest.mark.parametrize("sender", [PAYER.address, FUNDER])
def test_a_token_that_only_seems_to_take_an_authorization_fills_nothing(sender: bytes) -> None:
    escrow = escrow_of("SilentToken")
    with pytest.raises(RevertError, match="TokenTookAFee"):
        escrow.deposit_with_authorization(
            sender, LANE, 1000, until_s=FAR_FUTURE_S, salt=bytes(32), signature=NO_SIGNATURE
        )
    assert escrow.lane(LANE).balance == 0


def test_units_of_a_token_with_18_decimals_are_kept_to_the_unit_too() -> None:
    # The books hold; that such amounts mean something else is for the node to refuse (``token_decimals``).
    escrow = escrow_of("TinyToken")
    escrow.deposit(LANE, 10**9)
    assert escrow.redeem_many(PAYEE.address, [row(escrow, 10**9 - 1)]) == 10**9 - 1
    assert escrow.token_balance(escrow.domain.escrow) == 1


# --- a token with hooks: while it moves, it calls back

CALL_BACKS: dict[str, bytes] = {
    "deposit": calldata("deposit(address,address,address,uint96)", *PARTS, 1),
    "depositMany": calldata("depositMany((address,address,address,uint96,uint8)[])", []),
    "depositWithPermit": calldata(
        "depositWithPermit(address,address,address,uint96,uint256,uint8,bytes32,bytes32)",
        *PARTS, 1, FAR_FUTURE_S, 27, bytes(32), bytes(32),
    ),
    "depositWithAuthorization": calldata(
        "depositWithAuthorization(address,address,address,uint96,uint256,uint256,bytes32,uint8,bytes32,bytes32)",
        *PARTS, 1, 0, FAR_FUTURE_S, bytes(32), 27, bytes(32), bytes(32),
    ),
    "redeemMany": calldata("redeemMany(address,bytes)", PAYEE.address, b""),
    "redeemManyTo": calldata("redeemManyTo(address,bytes)", PAYEE.address, b""),
    "finishExit": calldata("finishExit(address,address,address)", *PARTS),
    "closeTogether": calldata(
        "closeTogether(address,address,address,uint96,uint40,bytes,bytes)", *PARTS, 0, FAR_FUTURE_S, b"", b""
    ),
    "release": calldata("release(address,address,uint96,uint40,bytes)", *PARTS[1:], 0, FAR_FUTURE_S, b""),
    "addStake": calldata("addStake(uint96)", 1),
    "takeStake": calldata("takeStake()"),
    "slashEquivocation": calldata(
        "slashEquivocation(address,uint8,bytes32,uint64,bytes32,bytes,bytes32,bytes)",
        PAYEE.address, 0, bytes(32), 0, bytes(32), b"", b"\1" * 32, b"",
    ),
}  # fmt: skip


def staked(escrow: EscrowOnRevm) -> None:
    escrow.add_stake(PAYEE.address, 1000)
    escrow.leave_stake(PAYEE.address)
    escrow.set_time(START_S + 2 * 255 * TERMS.step_s)


def exited(escrow: EscrowOnRevm) -> None:
    escrow.deposit(LANE, 1000)
    escrow.start_exit(PAYER.address, PAYEE.address, SESSION.address)
    escrow.set_time(START_S + TERMS.exit_delay_s)


def close(escrow: EscrowOnRevm) -> None:
    digest = close_digest(escrow.domain, LANE, epoch=0, cumulative=400, deadline_s=FAR_FUTURE_S)
    signatures = (PAYEE.sign(digest), PAYER.sign(digest))
    escrow.close_together(FUNDER, LANE, cumulative=400, deadline_s=FAR_FUTURE_S, signatures=signatures)


def release(escrow: EscrowOnRevm) -> None:
    digest = release_digest(escrow.domain, LANE, epoch=0, new_balance=400, deadline_s=FAR_FUTURE_S)
    escrow.release(LANE, new_balance=400, deadline_s=FAR_FUTURE_S, signature=PAYEE.sign(digest))


def slash(escrow: EscrowOnRevm) -> None:
    bodies = [b"\x0a" * 32, b"\x0b" * 32]
    signed = [PAYEE.sign(statement_digest(escrow.domain, RECEIPT, bytes(32), 1, body)) for body in bodies]
    escrow.slash(
        FUNDER,
        Contradiction(
            provider=PAYEE.address,
            kind=RECEIPT,
            subject=bytes(32),
            sequence=1,
            body_a=bodies[0],
            signature_a=signed[0],
            body_b=bodies[1],
            signature_b=signed[1],
        ),
    )


def filled(escrow: EscrowOnRevm) -> None:
    escrow.deposit(LANE, 1000)


MOVES: dict[str, tuple[Callable[[EscrowOnRevm], None], Callable[[EscrowOnRevm], object]]] = {
    **{f"in: {way}": (filled, move) for way, move in WAYS_IN.items()},
    "redeem": (filled, lambda e: e.redeem_many(PAYEE.address, [row(e, 600)])),
    "redeem to": (filled, lambda e: e.redeem_many_to(PAYEE.address, FUNDER, [row(e, 600)])),
    "finish exit": (exited, lambda e: e.finish_exit(LANE)),
    "close": (filled, close),
    "release": (filled, release),
    "take stake": (staked, lambda e: e.take_stake(PAYEE.address)),
    "slash": (staked, slash),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_token_that_calls_back_finds_every_door_shut(move: str) -> None:
    prepare, act = MOVES[move]
    for name, call in CALL_BACKS.items():
        escrow = escrow_of("HookToken")
        prepare(escrow)
        escrow.ask_token(FUNDER, "arm(address,bytes)", escrow.domain.escrow, call)
        act(escrow)
        (succeeded,) = decode(["bool"], escrow.ask_token(FUNDER, "succeeded()"))
        (answer,) = decode(["bytes"], escrow.ask_token(FUNDER, "answer()"))
        assert (succeeded, load_artifact("Escrow").error_name(answer)) == (False, "ReentrancyGuardReentrantCall"), (
            f"{move}, then {name}"
        )
        lane = escrow.lane(LANE)
        held = lane.balance - lane.claimed + escrow.stake_of(PAYEE.address).amount
        assert escrow.token_balance(escrow.domain.escrow) == held, "I1"


def test_every_call_that_moves_tokens_was_tried_from_inside() -> None:
    open_doors = {"startExit", "cancelExit", "leaveStake"}
    writing = {
        entry["name"]
        for entry in load_artifact("Escrow").abi
        if entry["type"] == "function" and entry["stateMutability"] == "nonpayable"
    }
    assert writing == set(CALL_BACKS) | open_doors
