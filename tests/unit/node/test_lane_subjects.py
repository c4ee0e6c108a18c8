"""A lane may be named only by the holder of its session key, and only for the request it signed."""

from __future__ import annotations

import pytest

from ledger.ports import LaneKey
from ledger.voucher import Domain, SessionKey, check_lane_proof, lane_proof_digest
from market.errors import PeerFault
from node.lane_subjects import award_subject, close_subject
from tests.fakes.samples import BUYER, CHAIN_ID, ESCROW, PAYEE, PAYER, SELLER, SESSION, SESSION_KEY, a_signer

DOMAIN = Domain(CHAIN_ID, ESCROW)
LANE = LaneKey(payer=PAYER, payee=PAYEE, signer=SESSION)
BID = b"b" * 16


def test_the_holder_of_the_session_key_may_name_its_lane():
    subject = award_subject(BUYER.key, SELLER.key, BID)
    check_lane_proof(DOMAIN, LANE, subject, SESSION_KEY.sign(lane_proof_digest(DOMAIN, LANE, subject)))


@pytest.mark.parametrize(
    "other",
    [
        award_subject(a_signer("mallory").key, SELLER.key, BID),
        award_subject(BUYER.key, a_signer("mallory").key, BID),
        award_subject(BUYER.key, SELLER.key, b"x" * 16),
        close_subject(BUYER.key, 0, 0, 0),
    ],
)
def test_a_proof_is_good_for_its_own_request_only(other: bytes):
    proof = SESSION_KEY.sign(lane_proof_digest(DOMAIN, LANE, award_subject(BUYER.key, SELLER.key, BID)))
    with pytest.raises(PeerFault):
        check_lane_proof(DOMAIN, LANE, other, proof)


def test_a_stranger_cannot_name_somebody_elses_lane():
    subject = award_subject(BUYER.key, SELLER.key, BID)
    forged = SessionKey(b"m" * 32).sign(lane_proof_digest(DOMAIN, LANE, subject))
    with pytest.raises(PeerFault):
        check_lane_proof(DOMAIN, LANE, subject, forged)


def test_every_figure_of_a_close_is_part_of_its_subject():
    plain = close_subject(BUYER.key, 1, 2, 3)
    others = [
        close_subject(SELLER.key, 1, 2, 3),
        close_subject(BUYER.key, 2, 2, 3),
        close_subject(BUYER.key, 1, 3, 3),
        close_subject(BUYER.key, 1, 2, 4),
    ]
    assert plain not in others
    assert len(set(others)) == 4
