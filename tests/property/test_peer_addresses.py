"""Every address that we take from strangers is one that the network library can read: it raises on others."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from multiaddr import Multiaddr

from bootstrap.identity import key_of_seed, peer_id_of
from bootstrap.introducer import scope_of
from bootstrap.peer_address import dialable, parse_address
from market.errors import InvalidRequest

KEY = key_of_seed(bytes(32))
KINDS = st.sampled_from(["ip4", "ip6", "dns", "dns4", "dns6"])
LABELS = st.text("abxn019-_%A.é٣", max_size=8) | st.from_regex(r"(xn|ab)--[a-z0-9-]{0,6}", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join) | st.text(max_size=20)
LONG_NAMES = st.lists(st.integers(1, 70).map("a".__mul__), min_size=1, max_size=5).map(".".join)
SCOPES = st.sampled_from(["", "%", "%1", "%eth0"])
IPS = st.builds("{}{}".format, st.ip_addresses() | st.sampled_from(["fe80::1", "::ffff:1.2.3.4", "01.2.3.4"]), SCOPES)
PORTS = st.integers(0, 70_000).map(str) | st.text("0123456789٣²", max_size=6)
ENDS = st.sampled_from(["", f"/p2p/{peer_id_of(KEY)}", "/p2p/x", "\n"])
TEXTS = st.builds("/{}/{}/tcp/{}{}".format, KINDS, NAMES | LONG_NAMES | IPS, PORTS, ENDS) | st.text(max_size=40)


@given(TEXTS)
@example("/dns/a..b/tcp/1")
@example("/dns4/a-/tcp/1")
@example("/dns6/a.-b/tcp/1")
@example("/dns4/xn--a/tcp/1")
@example("/dns/ab--c/tcp/1")
@example("/ip6/fe80::1%eth0/tcp/1")
def test_whatever_is_taken_can_be_read_by_the_library(text: str) -> None:
    try:
        taken = parse_address(text)
    except InvalidRequest:
        assert dialable(KEY, (text,), limit=8) == ()
        return
    assert str(Multiaddr(str(Multiaddr(str(taken))))) == str(Multiaddr(str(taken)))
    assert scope_of(text) is not None
    for address in dialable(KEY, (text,), limit=8):
        Multiaddr(str(address))
