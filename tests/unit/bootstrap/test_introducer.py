"""What newcomers are told."""

from __future__ import annotations

import random

import pytest

from bootstrap.introducer import MAX_ADDRESSES, MAX_INTRODUCED, Scope, choose_peers, reachable_from, scope_of

PUBLIC, PRIVATE, LOOPBACK = "/ip4/8.8.8.8/tcp/1", "/ip4/192.168.1.2/tcp/1", "/ip4/127.0.0.1/tcp/1"
NAME = "/dns4/node.example.org/tcp/1"


def peer(number: int) -> tuple[bytes, tuple[str, ...]]:
    return number.to_bytes(32, "big"), (PUBLIC,)


def test_the_asker_and_peers_without_address_are_left_out() -> None:
    known = [peer(1), peer(2), (bytes(32), ())]
    assert choose_peers(known, peer(1)[0], random.Random(0)) == [peer(2)]


def test_the_choice_is_bounded_and_changes() -> None:
    known = [peer(number) for number in range(1000)]
    luck = random.Random(0)
    first, second = choose_peers(known, b"", luck), choose_peers(known, b"", luck)
    assert len(first) == MAX_INTRODUCED == len(set(first))
    assert first != second


def test_the_addresses_of_each_are_bounded() -> None:
    ((_, addresses),) = choose_peers([(bytes(32), (PUBLIC,) * 100)], b"", random.Random(0))
    assert len(addresses) == MAX_ADDRESSES


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        (PUBLIC, Scope.ANYWHERE),
        (PRIVATE, Scope.SAME_SITE),
        ("/ip4/169.254.169.254/tcp/80", Scope.SAME_SITE),
        ("/ip4/100.64.0.1/tcp/80", Scope.SAME_SITE),
        ("/ip6/fd00::1/tcp/80", Scope.SAME_SITE),
        (LOOPBACK, Scope.SAME_MACHINE),
        ("/ip6/::1/tcp/1", Scope.SAME_MACHINE),
        (NAME, Scope.ANYWHERE),
        ("/memory/1", None),
    ],
)
def test_scopes(text: str, scope: Scope | None) -> None:
    assert scope_of(text) is scope


@pytest.mark.parametrize(
    ("ours", "kept"),
    [
        ((PUBLIC,), (PUBLIC, NAME, "/memory/1")),
        ((PRIVATE, PUBLIC), (PUBLIC, NAME, PRIVATE, "/memory/1")),
        ((LOOPBACK,), (PUBLIC, NAME, PRIVATE, LOOPBACK, "/memory/1")),
        ((), (PUBLIC, NAME, PRIVATE, LOOPBACK, "/memory/1")),
    ],
)
def test_a_public_node_does_not_try_its_neighbours_on_hearsay(ours: tuple[str, ...], kept: tuple[str, ...]) -> None:
    assert reachable_from(ours, (PUBLIC, NAME, PRIVATE, LOOPBACK, "/memory/1")) == kept
