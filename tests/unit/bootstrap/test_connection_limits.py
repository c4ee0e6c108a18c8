"""Counting per address."""

from __future__ import annotations

import pytest

from bootstrap.connection_limits import AddressCount, public_network


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("8.8.8.8", "8.8.8.8/32"),
        ("::ffff:8.8.8.8", "8.8.8.8/32"),
        ("2606:4700:10:aa::1", "2606:4700:10::/56"),
        ("2606:4700:10:bb::1", "2606:4700:10::/56"),
        ("2606:4700:10:1bb::1", "2606:4700:10:100::/56"),
        ("127.0.0.1", None),
        ("10.1.2.3", None),
        ("192.168.0.1", None),
        ("100.64.0.1", None),
        ("::1", None),
        ("fe80::1%eth0", None),
        ("not an address", "not an address"),
    ],
)
def test_what_counts_as_one_address(host: str, network: str | None) -> None:
    assert public_network(host) == network


def test_a_public_address_has_a_share() -> None:
    count = AddressCount(2)
    assert [count.take("8.8.8.8") for _ in range(3)] == [True, True, False]
    assert count.take("8.8.4.4")
    count.release("8.8.8.8")
    assert count.take("8.8.8.8")
    assert not count.take("::ffff:8.8.8.8")


def test_neighbours_are_not_counted() -> None:
    count = AddressCount(1)
    assert all(count.take("127.0.0.1") for _ in range(100))
    count.release("127.0.0.1")
