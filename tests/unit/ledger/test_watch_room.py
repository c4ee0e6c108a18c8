"""Lanes that cost nothing never push out lanes that hold money, nor a newcomer's few."""

from __future__ import annotations

from collections.abc import Collection

from ledger.ports import LaneKey
from ledger.watch_room import Places, WatchRoom

ANNA, BERT, CARL = b"A" * 32, b"B" * 32, b"C" * 32


def lane(owner: bytes, number: int) -> LaneKey:
    return LaneKey(payer=owner[:20], payee=b"p" * 20, signer=number.to_bytes(20, "big"))


def room(
    held: dict[bytes, int],
    *,
    funded: Collection[LaneKey] = (),
    empty: Collection[LaneKey] = (),
    named: Collection[LaneKey] = (),
    per_peer: int = 9,
) -> WatchRoom:
    peers = {lane(peer, number): peer for peer, count in held.items() for number in range(count)}
    return WatchRoom(peers, Places(per_peer=per_peer, all=10), funded=funded, empty=empty, named=named)


def test_strangers_have_half_of_the_places_and_peers_with_money_the_whole() -> None:
    strangers = room({ANNA: 1})
    assert [strangers.admit(BERT) for _ in range(5)] == [True] * 4 + [False]
    proven = room({ANNA: 1, BERT: 5}, funded=[lane(ANNA, 0)])
    assert [proven.admit(ANNA) for _ in range(8)] == [True] * 8
    # The whole is full then, and what strangers have gives way to who has money at stake.
    assert len(proven.gone) == 4
    assert {one.payer for one in proven.gone} == {BERT[:20]}


def test_who_has_the_most_lanes_that_nobody_looked_at_gives_way_to_who_has_fewer() -> None:
    full = room({ANNA: 4, BERT: 1})
    assert [full.admit(CARL) for _ in range(3)] == [True, True, False]
    assert {one.payer for one in full.gone} == {ANNA[:20]}
    assert not room({ANNA: 1, BERT: 4}).admit(BERT)


def test_an_empty_lane_gives_way_to_anybody_and_a_funded_one_to_nobody() -> None:
    full = room({ANNA: 1, BERT: 4}, empty=[lane(ANNA, 0)])
    assert full.admit(BERT)
    assert full.gone == {lane(ANNA, 0)}
    money = [lane(ANNA, number) for number in range(9)] + [lane(BERT, 0)]
    assert not room({ANNA: 9, BERT: 1}, funded=money).admit(CARL)
    assert not room({ANNA: 9, BERT: 1}, funded=money).admit(BERT)


def test_a_peer_at_its_own_limit_has_room_where_it_has_an_empty_lane() -> None:
    assert not room({ANNA: 2}, per_peer=2).admit(ANNA)
    own = room({ANNA: 2, BERT: 1}, empty=[lane(ANNA, 1), lane(BERT, 0)], per_peer=2)
    assert [own.admit(ANNA), own.admit(ANNA)] == [True, False]
    assert own.gone == {lane(ANNA, 1)}


def test_what_is_handed_in_now_does_not_give_way_to_the_rest_of_it() -> None:
    named = [lane(ANNA, 0)]
    assert not room({ANNA: 2}, empty=named, named=named, per_peer=2).admit(ANNA)
    assert not room({ANNA: 5}, empty=named, named=named).admit(ANNA)
