"""What peers say held against each other: lies are named, news under way is not."""

from __future__ import annotations

from typing import Any

import pytest

from market import codec
from market.offer_book import MAX_MACHINES_PER_PROVIDER, MAX_TTL_MS
from market.records import Offer
from market.signing import Verified, verify
from node.light_check import MAX_NAMED, Statement, confirmed, doubts, newest
from tests.fakes.samples import NOW, SELLER, a_signer, an_offer, offered_by

A, B, C, D, E = (a_signer(name).key for name in "abcde")
SKEW_MS, GRACE_MS = 60_000, 3_000


def offer(
    version: int = 1, *, price: int = 100, age_ms: int = 10_000, owner: str = "seller", **changes: Any
) -> Verified[Offer]:
    dates = {"issued_at": NOW - age_ms, "expires_at": NOW - age_ms + 60_000}
    return offered_by(a_signer(owner), version=version, price=price, **(dates | changes))


def statement(peer: bytes, *offers: Verified[Offer], complete: bool = True) -> Statement:
    told = Statement(peer)
    told.hear([one.raw for one in offers], lambda raw: verify(raw, Offer), NOW, max_skew_ms=SKEW_MS)
    told.complete = complete
    return told


def suspects(*told: Statement) -> dict[bytes, list[tuple[int, int | None]]]:
    """Peer → the version it should show and the one it shows."""
    return {
        peer: [(one.true.record.version, one.shown.record.version if one.shown else None) for one in found]
        for peer, found in doubts(list(told), NOW, grace_ms=GRACE_MS).items()
    }


def test_the_newest_version_of_each_machine_counts() -> None:
    told = statement(A, offer(1), offer(3), offer(2), offer(1, machine="m1"))
    assert sorted(one.record.version for one in told.shown.values()) == [1, 3]
    assert told.live == 2
    both = newest([statement(A, offer(1)), statement(B, offer(2, withdrawn=True))])
    assert [one.record.version for one in both.values()] == [2]


def test_what_nobody_signed_is_forged() -> None:
    true = codec.unpack(offer().raw)
    cheaper = codec.pack({**codec.unpack(true["body"]), "price": 1})
    told = Statement(A)
    bad = [codec.pack({**true, "body": cheaper}), b"\xc1", codec.pack({**true, "key": B}), offer(2).raw]
    told.hear(bad, lambda raw: verify(raw, Offer), NOW, max_skew_ms=SKEW_MS)
    assert told.forged == {"bad_signature": 1, "undecodable": 1, "wrong_author": 1}
    assert told.live == 1


def test_what_is_over_or_misdated_is_kept_apart() -> None:
    told = statement(
        A,
        offer(1, machine="just over", expires_at=NOW),
        offer(1, machine="long over", expires_at=NOW - 2 * SKEW_MS),
        offer(1, machine="to come", issued_at=NOW + SKEW_MS + 1, expires_at=NOW + SKEW_MS + 2),
        offer(1, machine="for ever", expires_at=NOW + SKEW_MS + MAX_TTL_MS + 1),
    )
    assert told.shown == {}
    assert [one.record.machine for one in told.over] == ["long over"]
    assert told.misdated == 4


def test_memory_of_what_is_over_is_bounded() -> None:
    told = Statement(A)
    over = offer(expires_at=NOW - 2 * SKEW_MS)
    told.hear([b""] * 1000, lambda raw: over, NOW, max_skew_ms=SKEW_MS)
    assert len(told.over) == MAX_NAMED


def test_peers_that_agree_are_not_in_doubt() -> None:
    assert suspects(statement(A, offer()), statement(B, offer())) == {}
    assert suspects(statement(A, offer())) == {}
    assert suspects() == {}


def test_who_lacks_what_others_show_is_in_doubt() -> None:
    assert suspects(statement(A, offer()), statement(B)) == {B: [(1, None)]}
    assert suspects(statement(A, offer()), statement(B, offer()), statement(C)) == {C: [(1, None)]}


def test_who_shows_an_older_version_is_in_doubt() -> None:
    assert suspects(statement(A, offer(5)), statement(B, offer(4))) == {B: [(5, 4)]}
    withdrawn = offer(5, withdrawn=True)
    assert suspects(statement(A, withdrawn), statement(B, offer(4))) == {B: [(5, 4)]}
    assert suspects(statement(A, withdrawn), statement(B)) == {}


def test_a_refresh_under_way_is_no_reason_to_doubt() -> None:
    fresh = {"age_ms": 1_000}
    assert suspects(statement(A, offer(5, **fresh)), statement(B, offer(4))) == {}
    assert suspects(statement(A, offer(5, price=90, **fresh)), statement(B, offer(4))) == {B: [(5, 4)]}
    assert suspects(statement(A, offer(5, withdrawn=True, **fresh)), statement(B, offer(4))) == {B: [(5, 4)]}
    assert suspects(statement(A, offer(5, **fresh)), statement(B)) == {B: [(5, None)]}


def test_the_many_are_not_called_liars_by_the_few() -> None:
    one = statement(A, offer())
    assert suspects(one, statement(B), statement(C)) == {}
    half = [one, statement(D, offer()), statement(B), statement(C)]
    assert suspects(*half) == {}, "half of them may be one stranger's"
    assert suspects(*half, statement(E, offer())) == {B: [(1, None)], C: [(1, None)]}


def test_a_provider_is_no_witness_for_its_own_offer() -> None:
    assert suspects(statement(SELLER.key, offer()), statement(B)) == {}
    assert suspects(statement(SELLER.key), statement(B, offer()), statement(C, offer())) == {}


def test_what_was_not_shown_to_the_end_proves_nothing() -> None:
    assert suspects(statement(A, offer()), statement(B, complete=False)) == {}


def test_what_ends_within_the_grace_is_left_alone() -> None:
    dying = offer(expires_at=NOW + 2 * GRACE_MS)
    assert suspects(statement(A, dying), statement(B)) == {}


def test_a_provider_with_more_machines_than_nodes_keep_proves_nothing() -> None:
    many = [offer(machine=f"m{number}") for number in range(MAX_MACHINES_PER_PROVIDER + 1)]
    assert suspects(statement(A, *many), statement(B, *many[:-1])) == {}
    assert suspects(statement(A, *many[:-1]), statement(B, *many[:-2])) == {B: [(1, None)]}


@pytest.mark.parametrize(
    ("again", "still"),
    [
        ((), [(5, None)]),
        ((4,), [(5, 4)]),
        ((5,), []),
        ((6,), []),
    ],
)
def test_a_doubt_is_confirmed_by_the_second_look(again: tuple[int, ...], still: list[tuple[int, int | None]]) -> None:
    found = doubts([statement(A, offer(5)), statement(B)], NOW, grace_ms=GRACE_MS)[B]
    kept = confirmed(found, statement(B, *(offer(version) for version in again)))
    assert [(one.true.record.version, one.shown.record.version if one.shown else None) for one in kept] == still


def test_a_second_look_that_was_cut_off_confirms_nothing() -> None:
    found = doubts([statement(A, offer(5)), statement(B)], NOW, grace_ms=GRACE_MS)[B]
    assert confirmed(found, statement(B, complete=False)) == []


def test_a_withdrawal_in_the_meantime_clears_a_peer() -> None:
    found = doubts([statement(A, offer(5)), statement(B)], NOW, grace_ms=GRACE_MS)[B]
    assert confirmed(found, statement(B, SELLER.sign(an_offer(version=6, withdrawn=True)))) == []
