"""Addresses of peers."""

from __future__ import annotations

import pytest

from bootstrap.identity import key_of_seed, peer_id_of
from bootstrap.peer_address import PeerAddress, dialable, parse_address
from market.errors import InvalidRequest

KEY = key_of_seed(bytes(32))
OTHER = key_of_seed(b"x" * 32)
ID, OTHER_ID = peer_id_of(KEY), peer_id_of(OTHER)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/ip4/203.0.113.7/tcp/4001", PeerAddress("ip4", "203.0.113.7", 4001)),
        (f"/ip4/127.0.0.1/tcp/0/p2p/{ID}", PeerAddress("ip4", "127.0.0.1", 0, KEY)),
        ("/ip6/::1/tcp/65535", PeerAddress("ip6", "::1", 65535)),
        ("/dns4/node.example.org/tcp/443", PeerAddress("dns4", "node.example.org", 443)),
        ("/dns/localhost/tcp/1", PeerAddress("dns", "localhost", 1)),
        ("/dns/a-b.c--d.1/tcp/1", PeerAddress("dns", "a-b.c--d.1", 1)),
    ],
)
def test_addresses_are_read_and_written_alike(text: str, expected: PeerAddress) -> None:
    assert parse_address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:4001",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/tcp/",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/-1",
        "/ip4/127.0.0.1/tcp/1/",
        "/ip4/127.0.0.256/tcp/1",
        "/ip4/::1/tcp/1",
        "/ip6/127.0.0.1/tcp/1",
        "/ip4/127.0.0.1/udp/1/quic-v1",
        f"/ip4/127.0.0.1/tcp/1/p2p/{ID}/p2p-circuit",
        "/ip4/127.0.0.1/tcp/1/p2p/nobody",
        "/dns4/bad host/tcp/1",
        "/dns4/-x-/tcp/1",
        "/dns4//tcp/1",
        "/dns/a..b/tcp/1",
        "/dns/.a/tcp/1",
        "/dns/a./tcp/1",
        "/dns/a-/tcp/1",
        "/dns/a.-b/tcp/1",
        "/dns/ab--c/tcp/1",
        "/dns/xn--a/tcp/1",
        "/dns/A.b/tcp/1",
        "/dns/a_b/tcp/1",
        f"/dns/{'a' * 64}.b/tcp/1",
        "/ip6/fe80::1%eth0/tcp/1",
        "/ip6/fe80::1%1/tcp/1",
        "/ip4/1.2.3.4/tcp/٣",
        "/ip4/1.2.3.4/tcp/1\n",
        "/dns4/" + "a" * 300 + "/tcp/1",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_address(text)


def test_only_dialable_addresses_of_the_peer_are_kept() -> None:
    texts = (
        "nonsense",
        "/ip4/10.0.0.1/tcp/1",
        f"/ip4/10.0.0.1/tcp/1/p2p/{ID}",
        f"/ip4/10.0.0.2/tcp/2/p2p/{OTHER_ID}",
        "/ip4/0.0.0.0/tcp/3",
        "/ip4/10.0.0.4/tcp/0",
        "/ip4/10.0.0.5/tcp/5",
    )
    assert dialable(KEY, texts, limit=8) == (
        PeerAddress("ip4", "10.0.0.1", 1, KEY),
        PeerAddress("ip4", "10.0.0.5", 5, KEY),
    )


def test_no_more_than_the_limit_are_kept() -> None:
    texts = tuple(f"/ip4/10.0.0.1/tcp/{port}" for port in range(1, 10_000))
    assert len(dialable(KEY, texts, limit=8)) == 8
