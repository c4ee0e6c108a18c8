"""Where a machine seems to be, from the addresses it claims."""

import pytest

from market.neighbourhood import MAX_PER_PREFIX, MAX_PER_RELAY, neighbourhood


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ((), ("", 0)),
        (("/ip4/198.51.100.7/tcp/4001",), ("198.51.100", MAX_PER_PREFIX)),
        (("/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.5/tcp/1", "/ip4/198.51.100.7/tcp/1"), ("198.51.100", MAX_PER_PREFIX)),
        (("/ip4/10.1.2.3/tcp/1", "/ip4/172.31.0.1/tcp/1", "/ip4/100.64.0.1/tcp/1", "/ip4/169.254.1.1/tcp/1"), ("", 0)),
        (("/ip4/172.32.0.1/tcp/1",), ("172.32.0", MAX_PER_PREFIX)),
        (("/ip6/2001:DB8:1:2::5/tcp/1",), ("2001:db8:1", MAX_PER_PREFIX)),
        (("/ip6/fd00:1:2::5/tcp/1", "/ip6/fe80:1:2::5/tcp/1"), ("", 0)),
        (("/ip4/198.51.100.7/tcp/1/p2p/12D3KooWA/p2p-circuit",), ("12D3KooWA", MAX_PER_RELAY)),
        (("nonsense", "/dns4/example.org/tcp/1"), ("", 0)),
    ],
)
def test_is_the_prefix_of_the_first_public_address_or_the_relay(
    addresses: tuple[str, ...], expected: tuple[str, int]
) -> None:
    assert neighbourhood(addresses) == expected
