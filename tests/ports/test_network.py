"""One suite for the Network port, on the simulated network and on real libp2p hosts over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
import trio.testing

from bootstrap.identity import key_of_seed
from market.errors import PeerFault, Unavailable
from node.libp2p_network import open_libp2p_network
from node.peer_exchange import PeerExchange
from node.ports import AnswerLost, ByteStream, Network, PeerUnreachable, Verdict
from node.wire import MAX_GOSSIP_BYTES, TOPIC_OFFERS
from tests.fakes.memory_network import MemoryWorld
from tests.fakes.open_nodes import open_nodes

ECHO = "/test/echo/1"
STREAM = "/test/stream/1"
DEADLINE_S = 10.0

OpenNode = Callable[..., Awaitable[Network]]


@pytest.fixture(params=["memory", "libp2p"])
async def open_node(request: pytest.FixtureRequest) -> AsyncIterator[OpenNode]:
    """``await open_node(introducer)`` is a running node; each call makes another, with a new key."""
    world = MemoryWorld(latency=(0.0001, 0.001))
    async with open_nodes() as opener:
        count = 0

        async def open_one(*introducers: Network) -> Network:
            nonlocal count
            count += 1
            seed = bytes([count]) * 32
            first = tuple(address for node in introducers for address in node.addresses())
            if request.param == "memory":
                return await opener.open(world.open(seed, introducers=first))
            listen = ("/ip4/127.0.0.1/tcp/0",)
            return await opener.open(open_libp2p_network(seed=seed, listen=listen, introducers=first))

        yield open_one


async def test_a_node_is_found_at_the_addresses_it_names(open_node: OpenNode) -> None:
    near = await open_node()
    far = await open_node()
    far.serve(ECHO, echo, max_request=100)
    assert far.addresses()
    near.learn(far.key, far.addresses())
    assert await near.request(far.key, ECHO, b"hello", timeout=DEADLINE_S) == b"hello"


async def test_the_key_follows_from_the_seed(open_node: OpenNode) -> None:
    node = await open_node()
    assert node.key == key_of_seed(bytes([1]) * 32)


async def test_both_sides_of_one_connection_may_ask(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    assert await near.request(far.key, ECHO, b"there", timeout=DEADLINE_S) == b"there"
    assert await far.request(near.key, ECHO, b"back", timeout=DEADLINE_S) == b"back"


async def test_peers_lists_who_is_connected(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    (info,) = near.peers()
    assert info.key == far.key
    assert info.peer_id.startswith("12D3Koo")


async def test_an_empty_request_and_an_empty_answer(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    assert await near.request(far.key, ECHO, b"", timeout=DEADLINE_S) == b""


async def test_a_slow_request_does_not_hold_up_others(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    release = trio.Event()

    async def slow_or_quick(peer: bytes, request: bytes) -> bytes:
        if request == b"slow":
            await release.wait()
        return request

    far.serve("/test/mixed/1", slow_or_quick, max_request=100)
    answers: list[bytes] = []

    async def ask(text: bytes) -> None:
        answers.append(await near.request(far.key, "/test/mixed/1", text, timeout=DEADLINE_S))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, b"slow")
        for number in range(8):
            nursery.start_soon(ask, b"quick %d" % number)
        with trio.fail_after(DEADLINE_S):
            while len(answers) < 8:
                await trio.sleep(0.001)
        assert b"slow" not in answers
        release.set()
    assert sorted(answers) == [*(b"quick %d" % number for number in range(8)), b"slow"]


async def test_answers_are_never_mixed_up_after_a_time_out(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    hold = trio.Event()

    async def late(peer: bytes, request: bytes) -> bytes:
        if request == b"late":
            await hold.wait()
        return b"answer to " + request

    far.serve("/test/late/1", late, max_request=100)
    with pytest.raises(AnswerLost):
        await near.request(far.key, "/test/late/1", b"late", timeout=0.2)
    hold.set()
    for number in range(3):
        request = b"next %d" % number
        assert await near.request(far.key, "/test/late/1", request, timeout=DEADLINE_S) == b"answer to " + request


async def test_a_request_that_never_left_is_told_from_one_whose_answer_was_lost(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    with pytest.raises(PeerUnreachable) as never_left:
        await near.request(key_of_seed(b"stranger" * 4), ECHO, b"", timeout=2.0)
    with pytest.raises(AnswerLost):
        await near.request(far.key, ECHO, bytes(101), timeout=2.0)
    assert not isinstance(never_left.value, AnswerLost)


async def test_a_request_that_cannot_be_answered_is_unreachable(open_node: OpenNode) -> None:
    near, far = await pair(open_node)

    async def refuses(peer: bytes, request: bytes) -> bytes:
        raise Unavailable("not now") if request == b"world" else PeerFault("you broke a rule")

    far.serve("/test/refuses/1", refuses, max_request=100)
    stranger = key_of_seed(b"stranger" * 4)
    for peer, protocol, request in (
        (stranger, ECHO, b""),
        (near.key, ECHO, b""),
        (far.key, "/test/unknown/1", b""),
        (far.key, ECHO, bytes(101)),
        (far.key, "/test/refuses/1", b"world"),
        (far.key, "/test/refuses/1", b"peer"),
    ):
        with pytest.raises(PeerUnreachable):
            await near.request(peer, protocol, request, timeout=2.0)
    assert await near.request(far.key, ECHO, b"still here", timeout=DEADLINE_S) == b"still here"


async def test_an_answer_over_the_limit_is_not_taken(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    with pytest.raises(PeerUnreachable):
        await near.request(far.key, ECHO, bytes(50), timeout=2.0, max_response=49)
    assert await near.request(far.key, ECHO, bytes(50), timeout=2.0, max_response=50) == bytes(50)


async def test_a_stream_carries_bytes_both_ways_until_each_end(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    heard = bytearray()

    async def listen(stream: ByteStream) -> None:
        assert stream.peer == near.key
        while data := await stream.receive():
            heard.extend(data)
        await stream.send(b"heard %d" % len(heard))
        await stream.send_eof()

    far.serve_stream(STREAM, listen)
    stream = await near.open_stream(far.key, STREAM)
    sent = bytes(range(256)) * 4096
    await stream.send(sent)
    await stream.send_eof()
    answer = bytearray()
    with trio.fail_after(DEADLINE_S):
        while data := await stream.receive(7):
            answer += data
    assert bytes(heard) == sent
    assert answer == b"heard %d" % len(sent)
    await stream.aclose()


async def test_a_slow_reader_holds_the_writer_back(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    read_on = trio.Event()
    total = 0

    async def listen(stream: ByteStream) -> None:
        nonlocal total
        await read_on.wait()
        while data := await stream.receive():
            total += len(data)

    far.serve_stream(STREAM, listen)
    stream = await near.open_stream(far.key, STREAM)
    chunk, chunks, sent = bytes(65536), 64, 0

    async def write() -> None:
        nonlocal sent
        for _ in range(chunks):
            await stream.send(chunk)
            sent += 1
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert sent < chunks, "a writer must wait for a reader that does not read"
        read_on.set()
    with trio.fail_after(DEADLINE_S):
        assert await stream.receive() == b""
    assert total == chunks * len(chunk)


async def test_a_reset_breaks_both_ends(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    broken = trio.Event()

    async def listen(stream: ByteStream) -> None:
        try:
            while await stream.receive():
                pass
        except PeerUnreachable:
            broken.set()
            raise

    far.serve_stream(STREAM, listen)
    stream = await near.open_stream(far.key, STREAM)
    await stream.send(b"x")
    await stream.reset()
    with pytest.raises(PeerUnreachable):
        await stream.receive()
    with trio.fail_after(DEADLINE_S):
        await broken.wait()


async def test_a_stream_handler_that_gives_up_breaks_the_stream(open_node: OpenNode) -> None:
    near, far = await pair(open_node)

    async def gives_up(stream: ByteStream) -> None:
        raise Unavailable("no disk")

    far.serve_stream(STREAM, gives_up)
    stream = await near.open_stream(far.key, STREAM)
    with trio.fail_after(DEADLINE_S), pytest.raises(PeerUnreachable):
        await stream.receive()
    assert await near.request(far.key, ECHO, b"still here", timeout=DEADLINE_S) == b"still here"


async def test_no_stream_on_an_unknown_protocol(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    with pytest.raises(PeerUnreachable):
        await near.open_stream(far.key, "/test/unknown/1")


async def test_gossip_reaches_peers_of_peers_once(open_node: OpenNode) -> None:
    middle = await open_node()
    ends = [await open_node(middle) for _ in range(3)]
    heard = {node.key: subscribe(node) for node in (middle, *ends)}
    await until(lambda: len(middle.peers()) == 3)
    await ends[0].publish(TOPIC_OFFERS, b"first")
    await ends[1].publish(TOPIC_OFFERS, b"second")
    await until(lambda: heard[ends[2].key] and set(heard[ends[2].key]) == {b"first", b"second"})
    await until(lambda: set(heard[middle.key]) == {b"first", b"second"})
    await until(lambda: heard[ends[0].key] == [b"second"] and heard[ends[1].key] == [b"first"])
    assert sorted(heard[ends[2].key]) == [b"first", b"second"]
    assert sorted(heard[middle.key]) == [b"first", b"second"]


async def test_gossip_that_is_not_accepted_goes_no_further(open_node: OpenNode) -> None:
    middle = await open_node()
    source, sink = await open_node(middle), await open_node(middle)
    judged: list[bytes] = []
    delivered: list[bytes] = []

    def judge(forwarder: bytes, message: bytes) -> Verdict:
        assert forwarder == source.key
        judged.append(message)
        return {b"ignore": Verdict.IGNORE, b"reject": Verdict.REJECT}.get(message, Verdict.ACCEPT)

    middle.subscribe(TOPIC_OFFERS, judge, lambda forwarder, message: delivered.append(message))
    heard = subscribe(sink)
    subscribe(source)
    await until(lambda: len(middle.peers()) == 2)
    for message in (b"ignore", b"reject"):
        await source.publish(TOPIC_OFFERS, message)
        await until(lambda expected=message: expected in judged)
    await source.publish(TOPIC_OFFERS, b"accept")
    await until(lambda: heard == [b"accept"])
    assert delivered == [b"accept"]
    assert judged == [b"ignore", b"reject", b"accept"]


async def test_what_one_forwarder_may_not_bring_another_may(open_node: OpenNode) -> None:
    judge = await open_node()
    source = await open_node(judge)
    other = await open_node(source, judge)
    delivered: list[tuple[bytes, bytes]] = []

    def judged(forwarder: bytes, message: bytes) -> Verdict:
        return Verdict.POSTPONE if forwarder == source.key else Verdict.ACCEPT

    judge.subscribe(TOPIC_OFFERS, judged, lambda forwarder, message: delivered.append((forwarder, message)))
    subscribe(source)
    heard = subscribe(other)
    await until(lambda: all(len(node.peers()) == 2 for node in (judge, source, other)))
    await source.publish(TOPIC_OFFERS, b"over another way")
    await until(lambda: heard == [b"over another way"])
    await until(lambda: delivered == [(other.key, b"over another way")])


async def test_the_largest_gossip_message_passes_and_a_larger_one_is_refused(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    heard = subscribe(far)
    subscribe(near)
    largest = bytes(MAX_GOSSIP_BYTES)
    with pytest.raises(ValueError, match="size"):
        await near.publish(TOPIC_OFFERS, largest + b"x")
    await near.publish(TOPIC_OFFERS, largest)
    await until(lambda: heard == [largest])


async def test_a_peer_that_keeps_breaking_rules_is_banned(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    for _ in range(20):
        far.penalise(near.key, "test")
    await until(lambda: not far.peers())
    with pytest.raises(PeerUnreachable):
        await far.request(near.key, ECHO, b"", timeout=2.0)
    with pytest.raises(PeerUnreachable):
        await near.request(far.key, ECHO, b"", timeout=2.0)
    assert far.peers() == []


async def test_one_penalty_is_forgiven(open_node: OpenNode) -> None:
    near, far = await pair(open_node)
    far.penalise(near.key, "test")
    assert await near.request(far.key, ECHO, b"ok", timeout=DEADLINE_S) == b"ok"


async def test_bad_addresses_are_dropped(open_node: OpenNode) -> None:
    node = await open_node()
    stranger = key_of_seed(b"stranger" * 4)
    node.learn(stranger, ("", "nonsense", "/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/999.0.0.1/tcp/1", "/" * 300))
    with pytest.raises(PeerUnreachable):
        await node.request(stranger, ECHO, b"", timeout=2.0)


async def test_newcomers_with_one_introducer_find_each_other(open_node: OpenNode) -> None:
    introducer = await open_node()
    nodes = [introducer, *[await open_node(introducer) for _ in range(3)]]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            exchange = PeerExchange(node)
            exchange.register()
            nursery.start_soon(exchange.exchange_forever)
        await until(lambda: all(len(node.peers()) == 3 for node in nodes))
        nursery.cancel_scope.cancel()


async def echo(peer: bytes, request: bytes) -> bytes:
    return request


async def pair(open_node: OpenNode) -> tuple[Network, Network]:
    """Two connected nodes that answer echo requests; the first has dialed the second."""
    far = await open_node()
    near = await open_node(far)
    for node in (near, far):
        node.serve(ECHO, echo, max_request=100)
    await near.request(far.key, ECHO, b"", timeout=DEADLINE_S)
    await until(lambda: [info.key for info in far.peers()] == [near.key])
    return near, far


def subscribe(node: Network) -> list[bytes]:
    heard: list[bytes] = []
    node.subscribe(TOPIC_OFFERS, lambda *_: Verdict.ACCEPT, lambda forwarder, message: heard.append(message))
    return heard


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(DEADLINE_S):
        while not condition():
            await trio.sleep(0.005)
