"""What the shipped escrow does with what it should not be given: it refuses with its reason, or pays nothing.

Whatever the case, nothing moves that should not: see :func:`untouched`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from coincurve import PublicKey
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ledger.create2 import DelayTerms
from ledger.ports import LaneDeposit, LaneKey
from ledger.voucher import Domain, SessionKey, Voucher, check_voucher, recover, sign_voucher, voucher_digest
from market.errors import PeerFault
from tests.fakes.escrow_on_revm import FUNDER, EscrowOnRevm
from tests.fakes.stake_model import RevertError

TERMS = DelayTerms(60, 60)
PAYER, PAYEE, OTHER = SessionKey(b"\x11" * 32), SessionKey(b"\x22" * 32), SessionKey(b"\x33" * 32)
SESSION = SessionKey(b"\x44" * 32)
LANE = LaneKey(PAYER.address, PAYEE.address, SESSION.address)
OTHER_LANE = structs.replace(LANE, payer=OTHER.address)
HELD = 1000
MOST = 2**96 - 1
ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


@pytest.fixture
def escrow() -> EscrowOnRevm:
    """An escrow with two lanes of ``HELD``, of the first of which 400 were paid out."""
    made = EscrowOnRevm(terms=TERMS, funds=10**12)
    made.set_time(1_800_000_000)
    for key in (LANE, OTHER_LANE):
        made.deposit(key, HELD)
    assert made.redeem_many(PAYEE.address, [row(made.domain, 400)]) == 400
    return made


@contextmanager
def untouched(escrow: EscrowOnRevm) -> Iterator[None]:
    """No token moves and no lane changes inside."""

    def everything() -> list[object]:
        holders = [escrow.domain.escrow, FUNDER, PAYER.address, PAYEE.address, OTHER.address]
        lanes = [escrow.lane(key) for key in (LANE, OTHER_LANE)]
        return [*lanes, escrow.stake_of(PAYEE.address), *map(escrow.token_balance, holders)]

    before = everything()
    yield
    assert everything() == before


def row(domain: Domain, cumulative: int, lane: LaneKey = LANE, key: SessionKey = SESSION) -> bytes:
    return sign_voucher(key, domain, structs.replace(lane, signer=key.address), cumulative).row()


def high_s(domain: Domain) -> bytes:
    """A good voucher of 900 in its other form: s above half the order, cut to the 255 bits that a row has for it."""
    good = row(domain, 900)
    with_parity = int.from_bytes(good[64:], "big")
    s = ORDER - (with_parity & (2**255 - 1))
    return good[:64] + ((s & (2**255 - 1)) | ((1 - (with_parity >> 255)) << 255)).to_bytes(32, "big")


def just_above_half(domain: Domain) -> bytes:
    """The one kind of high s that a row can hold: a little above half the order. It recovers to somebody."""
    return PAYER.address + (900).to_bytes(12, "big") + (5).to_bytes(32, "big") + (ORDER // 2 + 1).to_bytes(32, "big")


WORTHLESS: dict[str, tuple[Callable[[Domain], bytes], str]] = {
    "an older one after a newer": (lambda d: row(d, 399), ""),
    "the same a second time": (lambda d: row(d, 400), ""),
    "for nothing": (lambda d: row(d, 0), ""),
    "of a lane that holds nothing": (lambda d: row(d, 900, key=OTHER), "voucher_signer"),
    "another payer's name over it": (lambda d: OTHER.address + row(d, 900)[20:], "voucher_signer"),
    "another amount over it": (lambda d: PAYER.address + bytes(10) + b"\3\x84" + row(d, 401)[32:], "voucher_signer"),
    "to another provider": (lambda d: row(d, 900, structs.replace(LANE, payee=OTHER.address)), "voucher_signer"),
    "for another chain": (lambda d: row(Domain(d.chain_id + 1, d.escrow), 900), "voucher_signer"),
    "for another escrow": (lambda d: row(Domain(d.chain_id, b"\x0e" * 20), 900), "voucher_signer"),
    "signed in its malleable form": (high_s, "voucher_signer"),
    "with an s just above half the order": (just_above_half, "voucher_malleable"),
    "all zeros": (lambda d: bytes(96), "voucher_signature"),
    "all ones": (lambda d: b"\xff" * 96, "voucher_malleable"),
    "for all there is, signed by nobody": (lambda d: PAYER.address + b"\xff" * 12 + bytes(64), "voucher_signature"),
}  # fmt: skip


@pytest.mark.parametrize("case", WORTHLESS)
def test_a_voucher_that_is_not_good_pays_nothing_and_spoils_no_other(escrow: EscrowOnRevm, case: str) -> None:
    bad = WORTHLESS[case][0](escrow.domain)
    with untouched(escrow):
        assert escrow.preview_redeem(PAYEE.address, [bad]) == 0
        assert escrow.redeem_many(PAYEE.address, [bad]) == 0
        assert escrow.redeem_many(PAYEE.address, [bad, bad]) == 0
    assert escrow.redeem_many(PAYEE.address, [bad, row(escrow.domain, 500), bad]) == 100


@pytest.mark.parametrize("case", [name for name, (_, reason) in WORTHLESS.items() if reason])
def test_the_node_refuses_the_same_with_a_reason(escrow: EscrowOnRevm, case: str) -> None:
    make, reason = WORTHLESS[case]
    bad = make(escrow.domain)
    # What a payer would send for the lane that both sides agreed on.
    voucher = Voucher(structs.replace(LANE, payer=bad[:20]), int.from_bytes(bad[20:32], "big"), bad[32:])
    with pytest.raises(PeerFault) as refused:
        check_voucher(escrow.domain, voucher)
    assert refused.value.code == reason


def test_a_voucher_above_the_deposit_pays_what_is_there_and_the_rest_never_by_itself(escrow: EscrowOnRevm) -> None:
    for cumulative in (HELD + 1, MOST):
        over = row(escrow.domain, cumulative)
        assert escrow.redeem_many(PAYEE.address, [over, over]) in (HELD - 400, 0)
        assert escrow.token_balance(PAYEE.address) == HELD
        assert escrow.lane(OTHER_LANE).claimed == 0
    escrow.deposit(LANE, 5)
    assert escrow.redeem_many(PAYEE.address, [row(escrow.domain, HELD + 1)]) == 1


def test_a_voucher_over_the_highest_amount_is_good_to_the_unit() -> None:
    made = EscrowOnRevm(terms=TERMS, funds=2**97)
    made.deposit(LANE, MOST)
    assert made.redeem_many(PAYEE.address, [row(made.domain, MOST)]) == MOST
    assert made.lane(LANE).claimed == MOST
    with pytest.raises(RevertError, match="Panic"):
        made.deposit(LANE, 1)
    assert made.redeem_many(PAYEE.address, [row(made.domain, MOST)]) == 0


@pytest.mark.parametrize("parity", [0, 1])
def test_a_high_s_is_worth_nothing_even_in_the_lane_of_whom_it_recovers_to(escrow: EscrowOnRevm, parity: int) -> None:
    # Nobody has that key, but a lane of it can be filled: only there does it show whether the form is looked at.
    digest = voucher_digest(escrow.domain, LANE, 900)
    s, low = (ORDER // 2 + 1).to_bytes(32, "big"), (ORDER // 2).to_bytes(32, "big")
    r = next(r for r in (n.to_bytes(32, "big") for n in range(1, 99)) if recovered(digest, r + s + bytes([parity])))
    for half, worth in ((s, 0), (low, 900)):
        lane = structs.replace(LANE, signer=recovered(digest, r + half + bytes([parity])))
        escrow.deposit(lane, HELD)
        vs = (int.from_bytes(half, "big") | parity << 255).to_bytes(32, "big")
        assert escrow.redeem_many(PAYEE.address, [PAYER.address + (900).to_bytes(12, "big") + r + vs]) == worth


def recovered(digest: bytes, signature: bytes) -> bytes:
    """Whom a signature of r, s and parity recovers to, in whatever form it is; empty when to nobody."""
    try:
        key = PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except ValueError:
        return b""
    return keccak(key.format(compressed=False)[1:])[12:]


@pytest.mark.parametrize("length", [1, 95, 97, 191])
def test_rows_that_are_not_whole_are_refused(escrow: EscrowOnRevm, length: int) -> None:
    with untouched(escrow):
        for call in (escrow.redeem_many, escrow.preview_redeem):
            with pytest.raises(RevertError, match="NotWholeRows"):
                call(PAYEE.address, [bytes(length)])


@settings(max_examples=300, deadline=None)
@given(signature=st.binary(min_size=64, max_size=64), cumulative=st.integers(0, MOST))
def test_no_signature_but_the_signer_s_moves_anything(signature: bytes, cumulative: int) -> None:
    escrow = shared_escrow()
    with untouched(escrow):
        rows = [PAYER.address + cumulative.to_bytes(12, "big") + signature]
        assert escrow.redeem_many(PAYEE.address, rows) == 0


@settings(deadline=None)
@given(cumulative=st.integers(0, MOST), payer=st.binary(min_size=20, max_size=20))
def test_the_escrow_s_digest_is_what_the_node_signs(cumulative: int, payer: bytes) -> None:
    escrow = shared_escrow()
    raw = escrow.call(FUNDER, "voucherDigest(address,address,uint96)", payer, PAYEE.address, cumulative)
    assert raw == voucher_digest(escrow.domain, LaneKey(payer, PAYEE.address, b""), cumulative)
    assert recover(raw, SESSION.sign(raw)) == SESSION.address


_shared: list[EscrowOnRevm] = []


def shared_escrow() -> EscrowOnRevm:
    """One for all examples of a test that leaves it as it was."""
    if not _shared:
        _shared.append(EscrowOnRevm(terms=TERMS, funds=HELD))
        _shared[0].deposit(LANE, HELD)
    return _shared[0]


BAD_DEPOSITS: dict[str, tuple[LaneKey, int, str]] = {
    "of nothing": (LANE, 0, "ZeroAmount"),
    "beyond what a lane can hold": (LANE, MOST, "Panic"),
    "of more than there is": (LANE, 10**13, "ERC20Insufficient"),
    "without a payer": (structs.replace(LANE, payer=bytes(20)), 1, "NotAParty"),
    "without a provider": (structs.replace(LANE, payee=bytes(20)), 1, "NotAParty"),
    "without a signer": (structs.replace(LANE, signer=bytes(20)), 1, "NotAParty"),
}


@pytest.mark.parametrize("case", BAD_DEPOSITS)
def test_a_bad_deposit_is_refused_with_its_reason(escrow: EscrowOnRevm, case: str) -> None:
    key, amount, reason = BAD_DEPOSITS[case]
    with untouched(escrow):
        with pytest.raises(RevertError, match=reason):
            escrow.deposit(key, amount)
        good = LaneDeposit(lane=OTHER_LANE, amount=1)
        with pytest.raises(RevertError, match=reason):
            escrow.deposit_many([good, LaneDeposit(lane=key, amount=amount)], step_s=TERMS.step_s)


@pytest.mark.parametrize("place", ["payer", "payee", "signer"])
def test_the_escrow_itself_is_no_party(escrow: EscrowOnRevm, place: str) -> None:
    key = structs.replace(LANE, **{place: escrow.domain.escrow})
    with untouched(escrow), pytest.raises(RevertError, match="NotAParty"):
        escrow.deposit(key, 1)


def test_an_amount_that_does_not_fit_its_type_is_refused_and_not_cut(escrow: EscrowOnRevm) -> None:
    words = encode(
        ["uint256"] * 4, [int.from_bytes(a, "big") for a in (LANE.payer, LANE.payee, LANE.signer)] + [2**96 + 1]
    )
    data = keccak(b"deposit(address,address,address,uint96)")[:4] + words
    with untouched(escrow), pytest.raises(RevertError, match="unknown"):
        escrow.send(FUNDER, data)


def test_a_stake_of_nothing_or_too_much_is_refused(escrow: EscrowOnRevm) -> None:
    with untouched(escrow):
        for amount, reason in ((0, "ZeroAmount"), (10**13, "ERC20Insufficient")):
            with pytest.raises(RevertError, match=reason):
                escrow.add_stake(FUNDER, amount)
