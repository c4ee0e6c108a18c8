"""One hostile peer, or one fault of ours that somebody finds, never ends a node, and never keeps it from starting.

The node under attack is a real one in this process: an exception that escaped would fail the test.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from operator import attrgetter
from pathlib import Path

import pytest
import trio
from libp2p.identity.identify.pb.identify_pb2 import Identify

from bootstrap.channel import ChannelBroken
from bootstrap.identity import key_of_seed, peer_id_of
from bootstrap.libp2p_streams import PeerStream
from bootstrap.peer_address import PeerAddress
from market.records import Offer
from market.signing import Verified
from node import wire
from node.admission import pack_batch
from node.libp2p_network import Libp2pNetwork, open_libp2p_network
from node.offer_intake import OfferIntake
from node.peer_exchange import PeerExchange
from node.system_clock import SystemClock
from tests.fakes.open_nodes import Opener, open_nodes
from tests.fakes.samples import SELLER, an_offer
from tests.integration.attackers.hostile_peer import framed, hostile_peer
from tests.integration.attackers.victims import DEADLINE_S, LISTEN, serve_echo, still_serves, until

IDENTIFY = "/ipfs/id/1.0.0"
ODD_ADDRESSES = (
    "/dns/a..b/tcp/1",
    "/dns4/a-/tcp/1",
    "/dns4/xn--a/tcp/1",
    "/dns6/ab--c/tcp/1",
    "/ip6/fe80::1%eth0/tcp/1",
)
STRANGER = key_of_seed(b"stranger" * 4)


@pytest.fixture
async def opener() -> AsyncIterator[Opener]:
    async with open_nodes() as opened:
        yield opened


@pytest.fixture
def book_path(tmp_path: Path) -> Path:
    return tmp_path / "peers.json"


@pytest.fixture
async def victim(opener: Opener, book_path: Path) -> Libp2pNetwork:
    return await open_victim(opener, book_path)


async def open_victim(opener: Opener, book_path: Path) -> Libp2pNetwork:
    node = await opener.open(open_libp2p_network(seed=b"victim!!" * 4, listen=LISTEN, book_path=book_path))
    serve_echo(node)
    return node


def remembered(book_path: Path) -> dict[str, list[str]]:
    saved: dict[str, list[str]] = json.loads(book_path.read_text())
    return saved


def poison(book_path: Path) -> None:
    """What an older version saved after it heard the attack."""
    book_path.write_text(json.dumps({peer_id_of(STRANGER): ODD_ADDRESSES}))
    book_path.chmod(0o600)


async def join(opener: Opener, seed: bytes, victim: Libp2pNetwork) -> Libp2pNetwork:
    return await opener.open(open_libp2p_network(seed=seed, listen=LISTEN, introducers=victim.addresses()))


def offer_now(*addresses: str) -> Verified[Offer]:
    now = int(time.time() * 1000)
    return SELLER.sign(an_offer(version=now, issued_at=now, expires_at=now + 60_000, addresses=addresses))


async def test_an_offer_with_odd_addresses_is_heard_and_nothing_else_happens(
    opener: Opener, victim: Libp2pNetwork, book_path: Path
) -> None:
    intake = OfferIntake(victim, SystemClock())
    intake.register()
    dialed: list[PeerAddress] = []
    dial = victim._host.connections.dial

    async def note(address: PeerAddress) -> None:
        dialed.append(address)
        await dial(address)

    victim._host.connections.dial = note  # type: ignore[method-assign]
    attacker = await join(opener, b"attacker" * 4, victim)
    await still_serves(victim, attacker)
    with trio.fail_after(DEADLINE_S):
        while not dialed:
            await attacker.publish(wire.TOPIC_OFFERS, pack_batch([offer_now(*ODD_ADDRESSES, "/ip4/127.0.0.1/tcp/1")]))
            await trio.sleep(0.2)
    assert len(intake.book) == 1
    assert {address.host for address in dialed} == {"127.0.0.1"}
    await still_serves(victim, attacker)
    await opener.close(victim)
    peer = peer_id_of(SELLER.key)
    assert remembered(book_path)[peer] == [f"/ip4/127.0.0.1/tcp/1/p2p/{peer}"]


async def test_an_address_that_the_library_cannot_read_leads_nowhere(opener: Opener, victim: Libp2pNetwork) -> None:
    address = PeerAddress("dns", "a..b", 1, STRANGER)
    with pytest.raises(ChannelBroken):
        await victim._host.connections.dial(address)
    victim._host.dialer.learn(STRANGER, (address,))
    with trio.fail_after(DEADLINE_S), pytest.raises(ChannelBroken):
        await victim._host.dialer.connect(STRANGER)
    await still_serves(victim, await join(opener, b"honest!!" * 4, victim))


async def test_a_book_that_an_attacker_filled_does_not_keep_a_node_from_starting(
    opener: Opener, book_path: Path
) -> None:
    poison(book_path)
    victim = await open_victim(opener, book_path)
    assert victim._host.book.addresses(STRANGER) == ()
    await still_serves(victim, await join(opener, b"honest!!" * 4, victim))


@pytest.mark.parametrize("said", [[b"\xff\xff\xff"], [b"\x36\x03a.."], [b""], [b"\xff\xff\xff"] * 900])
async def test_a_peer_that_listens_nowhere_readable(opener: Opener, victim: Libp2pNetwork, said: list[bytes]) -> None:
    attacker = await opener.open(hostile_peer(victim))
    await attacker.disconnect()
    asked = trio.Event()

    async def identify(stream: PeerStream) -> None:
        await stream.send(framed(Identify(listen_addrs=said, protocols=["/x"]).SerializeToString()))
        asked.set()

    attacker.host.connections.handle(IDENTIFY, identify)
    await until(lambda: not victim.peers())
    await attacker.connect()
    with trio.fail_after(DEADLINE_S):
        await asked.wait()
    honest = await join(opener, b"honest!!" * 4, victim)
    await still_serves(victim, honest)
    await until(lambda: victim._host.book.addresses(honest.key) != ())
    await still_serves(victim, honest)


FAULTS = {
    "dialing": "network._host.connections.dial",
    "noting a dial": "network._host.book.tried",
    "choosing whom to dial": "network._host.book.due",
    "our side of identify": "network._host.connections.listen_addresses",
    "the library's side of identify": "network._host.libp2p._identify_peer",
    "learning from it": "network._host.dialer.learn",
    "a new connection": "network._connections._swarm.add_conn",
    "a new stream": "network._connections._swarm.notify_opened_stream",
    "hanging up": "network._connections.disconnect",
    "a new gossip peer": "network._host.gossip.router.add_peer",
    "a subscription": "network._host.gossip.router.on_peer_subscribed",
    "reading gossip": "network._host.gossip.pubsub._on_rpc",
    "watching a gossip stream": "network._host.gossip.pubsub._watch",
    "forwarding gossip": "network._host.gossip.router.publish",
    "the heartbeat of gossip": "network._host.gossip.router.mesh_heartbeat",
    "a lost gossip peer": "network._host.gossip.router.remove_peer",
    "asking for peers and books": "network.request",
    "learning peers": "network.learn",
    "judging offers": "intake._clock.now_ms",
    "keeping offers": "intake.book.take",
    "choosing whom to ask": "exchange._luck.sample",
}


class Node:
    """A node without a chain: what it does is fed by peers alone."""

    def __init__(self, network: Libp2pNetwork) -> None:
        self.network = network
        self.intake, self.exchange = OfferIntake(network, SystemClock()), PeerExchange(network)
        self.intake.register()
        self.exchange.register()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.exchange.exchange_forever)
            nursery.start_soon(self.intake.catch_up_forever)


@pytest.mark.parametrize("where", FAULTS.values(), ids=FAULTS.keys())
async def test_a_fault_of_ours_in_what_peers_feed_does_not_end_the_node(
    where: str, opener: Opener, victim: Libp2pNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(victim)
    owner, _, name = where.rpartition(".")
    failed = 0

    def fail(*args: object, **options: object) -> None:
        nonlocal failed
        failed += 1
        raise ZeroDivisionError("a bug that somebody found")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.run)
        with monkeypatch.context() as patch:
            patch.setattr(attrgetter(owner)(node), name, fail)
            with trio.fail_after(DEADLINE_S):
                while not failed:
                    await provoke(opener, victim)
        honest = await join(opener, b"honest!!" * 4, victim)
        await still_serves(victim, honest)
        other = Node(honest)
        nursery.start_soon(other.run)
        with trio.fail_after(DEADLINE_S):
            while not len(node.intake.book):
                await honest.publish(wire.TOPIC_OFFERS, pack_batch([offer_now()]))
                await trio.sleep(0.1)
        nursery.cancel_scope.cancel()


async def provoke(opener: Opener, victim: Libp2pNetwork) -> None:
    """Come, say something of everything, misbehave, and go."""
    guest = await join(opener, b"a guest!" * 4, victim)
    node = Node(guest)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.run)
        node.intake.take(offer_now())
        for _ in range(8):
            await guest.publish(wire.TOPIC_OFFERS, pack_batch([offer_now("/ip4/127.0.0.1/tcp/1")]))
            await trio.sleep(0.1)
        for _ in range(12):
            victim.penalise(STRANGER, "for the test")
        nursery.cancel_scope.cancel()
    await opener.close(guest)
    await trio.sleep(0.3)
