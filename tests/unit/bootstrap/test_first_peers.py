"""Introducer addresses from the configuration."""

from __future__ import annotations

import pytest

from bootstrap.first_peers import MAX_INTRODUCERS, parse_introducers
from bootstrap.identity import key_of_seed, peer_id_of
from market.errors import InvalidRequest

GOOD = f"/ip4/203.0.113.7/tcp/4001/p2p/{peer_id_of(key_of_seed(bytes(32)))}"


def test_introducers_name_their_peer() -> None:
    (address,) = parse_introducers((GOOD,))
    assert address.key == key_of_seed(bytes(32))
    assert parse_introducers(()) == ()


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        (("/ip4/203.0.113.7/tcp/4001",), "introducer_without_peer"),
        ((GOOD.replace("/4001/", "/0/"),), "bad_address"),
        (("nonsense",), "bad_address"),
        ((GOOD,) * (MAX_INTRODUCERS + 1), "too_many_introducers"),
    ],
)
def test_what_cannot_be_an_introducer(texts: tuple[str, ...], code: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_introducers(texts)
    assert refusal.value.code == code
    assert refusal.value.fix
