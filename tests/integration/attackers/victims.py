"""What a node under attack must still be able to do for honest peers."""

from __future__ import annotations

from collections.abc import Callable

import trio

from node.libp2p_network import Libp2pNetwork
from node.ports import PeerUnreachable, Verdict
from node.wire import TOPIC_OFFERS

ECHO = "/test/echo/1"
LISTEN = ("/ip4/127.0.0.1/tcp/0",)
DEADLINE_S = 10.0


def serve_echo(node: Libp2pNetwork) -> None:
    async def echo(peer: bytes, request: bytes) -> bytes:
        return request

    node.serve(ECHO, echo, max_request=1000)


async def still_serves(victim: Libp2pNetwork, honest: Libp2pNetwork, *, within_s: float = DEADLINE_S) -> None:
    """The victim answers an honest peer, over the connection that is there or a new one."""
    with trio.fail_after(within_s):
        while True:
            try:
                assert await honest.request(victim.key, ECHO, b"alive?", timeout=2.0) == b"alive?"
                return
            except PeerUnreachable:
                await trio.sleep(0.05)


async def gossip_still_flows(victim: Libp2pNetwork, honest: Libp2pNetwork) -> None:
    heard: list[bytes] = []
    honest.subscribe(TOPIC_OFFERS, lambda *_: Verdict.ACCEPT, lambda _, message: heard.append(message))
    await victim.publish(TOPIC_OFFERS, b"flows")
    await until(lambda: heard == [b"flows"])


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(DEADLINE_S):
        while not condition():
            await trio.sleep(0.005)
