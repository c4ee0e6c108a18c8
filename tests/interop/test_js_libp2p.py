"""Nodes and js-libp2p peers understand each other, whoever dials."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import trio

from bootstrap.identity import key_of_peer_id
from node.libp2p_network import Libp2pNetwork, open_libp2p_network
from node.ports import ByteStream, Verdict
from node.wire import TOPIC_OFFERS
from tests.fakes.open_nodes import Opener, open_nodes
from tests.interop.js_peer import DEADLINE_S, JsPeer, js_peer

pytestmark = pytest.mark.interop

ECHO, COUNT = "/test/echo/1", "/test/count/1"
LISTEN = ("/ip4/127.0.0.1/tcp/0",)


@pytest.fixture
async def opener() -> AsyncIterator[Opener]:
    async with open_nodes() as opened:
        yield opened


@pytest.fixture
async def js(opener: Opener) -> JsPeer:
    return await opener.open(js_peer())


@pytest.fixture
async def node(opener: Opener) -> Libp2pNetwork:
    network = await opener.open(open_libp2p_network(seed=b"interop!" * 4, listen=LISTEN))

    async def echo(peer: bytes, request: bytes) -> bytes:
        return request

    network.serve(ECHO, echo, max_request=300_000)
    return network


@pytest.fixture(params=["the node dials", "js dials"])
async def js_key(request: pytest.FixtureRequest, node: Libp2pNetwork, js: JsPeer) -> bytes:
    """The two are connected; the key of the js peer."""
    (address,) = js.addresses
    key = key_of_peer_id(address.split("/p2p/")[1])
    if request.param == "the node dials":
        node.learn(key, (address,))
    else:
        connection = await js.tell("dial", address=node.addresses()[0])
        assert connection == {"security": "/noise", "muxer": "/yamux/1.0.0"}
    await until(lambda: [info.key for info in node.peers()] == [key])
    return key


async def test_each_learns_where_the_other_listens(node: Libp2pNetwork, js: JsPeer, js_key: bytes) -> None:
    await js.until(lambda: js.facts)
    assert js.facts[0]["identified"] == node.addresses()[0].split("/p2p/")[1]
    assert ECHO in js.facts[0]["protocols"]
    await until(lambda: node.peers()[0].addresses == tuple(js.addresses))


async def test_requests_both_ways(node: Libp2pNetwork, js: JsPeer, js_key: bytes) -> None:
    for size in (0, 1, 1000, 200_000):
        body = b"x" * size
        assert await node.request(js_key, ECHO, body, timeout=DEADLINE_S, max_response=300_000) == body
    bodies = ["", "one", "y" * 200_000]
    assert await js.tell("ask", address=node.addresses()[0], bodies=bodies) == bodies


async def test_ping(node: Libp2pNetwork, js: JsPeer, js_key: bytes) -> None:
    assert await js.tell("ping", address=node.addresses()[0]) < 1000
    await until(lambda: node.peers()[0].rtt_us > 0)


async def test_a_stream_of_many_windows(node: Libp2pNetwork, js: JsPeer, js_key: bytes) -> None:
    counted = 0
    done = trio.Event()

    async def count(stream: ByteStream) -> None:
        nonlocal counted
        while data := await stream.receive():
            counted += len(data)
        done.set()

    node.serve_stream(COUNT, count)
    size = 64 * 65536
    await js.tell("send", address=node.addresses()[0], size=size)
    with trio.fail_after(DEADLINE_S):
        await done.wait()
    assert counted == size


async def test_gossip_both_ways(node: Libp2pNetwork, js: JsPeer, js_key: bytes) -> None:
    heard: list[bytes] = []
    node.subscribe(TOPIC_OFFERS, lambda *_: Verdict.ACCEPT, lambda _, message: heard.append(message))
    await js.tell("subscribe", topic=TOPIC_OFFERS)
    ours = [f"ours {number}" for number in range(20)]
    theirs = [f"theirs {number}" for number in range(20)]
    with trio.fail_after(DEADLINE_S):
        while not await js.tell("publish", topic=TOPIC_OFFERS, body=theirs[0]):
            await trio.sleep(0.1)
    for mine, other in zip(ours, theirs, strict=True):
        await node.publish(TOPIC_OFFERS, mine.encode())
        await js.tell("publish", topic=TOPIC_OFFERS, body=other)
    await js.until(lambda: set(js.heard()) == set(ours))
    await until(lambda: {message.decode() for message in heard} == set(theirs))
    assert len(js.heard()) == len(ours)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(DEADLINE_S):
        while not condition():
            await trio.sleep(0.01)
