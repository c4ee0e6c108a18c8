"""Bids heard: bounded, newest last, and nobody's flood pushes out everybody else's."""

from __future__ import annotations

from market.records import Bid
from market.signing import Verified
from node.heard_bids import HeardBids
from tests.fakes.samples import NOW, a_bid, a_signer

A, B = b"a" * 32, b"b" * 32


def bid_of(name: str, number: int = 0, **changes: object) -> Verified[Bid]:
    signer = a_signer(name)
    return signer.sign(a_bid(requester=signer.key, bid_id=number.to_bytes(16, "big"), **changes))


def test_the_newest_is_the_last():
    heard, bids = HeardBids(), [bid_of(f"r{number}") for number in range(3)]
    for bid in bids:
        heard.add(bid, A)
    heard.add(bids[0], B)
    assert list(heard.values()) == bids
    assert list(heard.newest_first()) == bids[::-1]
    assert list(heard) == [bid.id for bid in bids]


def test_one_requester_has_a_share_and_of_its_own_the_newest_count():
    heard = HeardBids(most=100, of_one_requester=3)
    other = bid_of("other")
    heard.add(other, A)
    loud = [bid_of("loud", number) for number in range(9)]
    for number, bid in enumerate(loud):
        heard.add(bid, bytes([number]) * 32)
    assert list(heard.values()) == [other, *loud[-3:]]


def test_room_is_made_by_the_peer_that_handed_in_most():
    heard = HeardBids(most=6)
    few = [bid_of(f"few{number}") for number in range(2)]
    many = [bid_of(f"many{number}") for number in range(20)]
    for bid in few:
        heard.add(bid, A)
    for bid in many:
        heard.add(bid, B)
    assert list(heard.values()) == [*few, *many[-4:]]


def test_what_was_heard_before_stays_with_the_peer_it_came_from():
    """Else a flood of repeated bids would make others' bids its own, and then push them out."""
    heard, honest = HeardBids(most=3), bid_of("honest")
    heard.add(honest, A)
    heard.add(honest, B)
    for number in range(5):
        heard.add(bid_of(f"s{number}"), B)
    assert honest.id in list(heard)


def test_the_oldest_go_when_their_time_is_over():
    heard = HeardBids()
    short, long = bid_of("short", expires_at=NOW + 10), bid_of("long", expires_at=NOW + 20)
    heard.add(short, A)
    heard.add(long, A)
    heard.drop_expired(NOW + 9)
    assert len(heard) == 2
    heard.drop_expired(NOW + 10)
    assert list(heard.values()) == [long]
    heard.drop_expired(NOW + 20)
    assert len(heard) == 0


def test_a_requester_that_comes_back_after_a_flood_begins_anew():
    heard = HeardBids(most=1, of_one_requester=1)
    for number in range(4):
        heard.add(bid_of("r", number), A)
    assert [bid.record.bid_id[-1] for bid in heard.values()] == [3]
