"""Requests over libp2p streams: a length, that many bytes; one answer; then the stream is free for the next.

Opening a stream costs a round trip, so streams are kept and used again, one request at a time on each. A failed or
cancelled exchange always resets its stream: the late answer must not pass for the answer to the next request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from bootstrap.channel import ChannelBroken
from bootstrap.libp2p_streams import PeerStream, StreamHandler
from market.errors import FabricError, PeerFault
from node.ports import RequestHandler

IDLE_S = 120.0
"""The answering side ends a stream that was not used for this long."""
TRANSFER_S = 30.0
"""Seconds for one request or answer to cross, once it has begun."""
HANDLER_S = 120.0
AT_ONCE_PER_PEER = 16
"""Requests of one peer in work at the same time; more wait."""
_KEPT_PER_PROTOCOL = 4
_LENGTH_BYTES = 4
_TOO_FAST_S = 0.05


class RequestStreams:
    """The asking side: free streams, by peer and protocol."""

    def __init__(self, open_stream: Callable[[bytes, str], Awaitable[PeerStream]]) -> None:
        self._open_stream = open_stream
        self._free: dict[tuple[bytes, str], list[PeerStream]] = {}

    async def exchange(
        self,
        peer: bytes,
        protocol: str,
        request: bytes,
        *,
        max_response: int,
        on_sending: Callable[[], None] = lambda: None,
    ) -> bytes:
        """One request, one answer. ``on_sending`` is called before the first byte of the request leaves.

        Raises:
            ChannelBroken: no answer of at most ``max_response`` bytes.
        """
        stream = await self._take(peer, protocol) or await self._open_stream(peer, protocol)
        on_sending()
        try:
            await stream.send(len(request).to_bytes(_LENGTH_BYTES, "big") + request)
            length = int.from_bytes(await stream.receive_exactly(_LENGTH_BYTES), "big")
            if length > max_response:
                raise ChannelBroken(f"an answer of {length} bytes is over the limit of {max_response}")
            response = await stream.receive_exactly(length)
        except BaseException:
            await stream.reset()
            raise
        await self._keep(peer, protocol, stream)
        return response

    def forget(self, peer: bytes) -> None:
        """The peer is gone, and its streams with it."""
        for key in [key for key in self._free if key[0] == peer]:
            del self._free[key]

    async def _take(self, peer: bytes, protocol: str) -> PeerStream | None:
        free = self._free.get((peer, protocol), [])
        while free:
            stream = free.pop()
            if stream.is_fresh:
                return stream
            await stream.reset()
        return None

    async def _keep(self, peer: bytes, protocol: str, stream: PeerStream) -> None:
        free = self._free.setdefault((peer, protocol), [])
        if stream.is_fresh and len(free) < _KEPT_PER_PROTOCOL:
            free.append(stream)
        else:
            await stream.reset()


class RequestServer:
    """The answering side.

    Args:
        allow: whether a peer may ask one more thing now; if not, it waits.
        on_fault: told about a peer that broke a rule.
    """

    def __init__(self, *, allow: Callable[[bytes], bool], on_fault: Callable[[bytes, str], None]) -> None:
        self._allow, self._on_fault = allow, on_fault
        self._at_once: dict[bytes, trio.Semaphore] = {}

    def handler(self, answer: RequestHandler, *, max_request: int) -> StreamHandler:
        """A stream handler that answers requests of up to ``max_request`` bytes, until the peer stops asking."""

        async def serve(stream: PeerStream) -> None:
            slots = self._at_once.setdefault(stream.peer, trio.Semaphore(AT_ONCE_PER_PEER))
            while True:
                with trio.fail_after(IDLE_S):
                    length = int.from_bytes(await stream.receive_exactly(_LENGTH_BYTES), "big")
                if length > max_request:
                    self._on_fault(stream.peer, "oversized request")
                    raise ChannelBroken("oversized request")
                while not self._allow(stream.peer):
                    await trio.sleep(_TOO_FAST_S)
                async with slots:  # before the request is read: waiting ones take no memory
                    await self._answer_one(stream, length, answer)

        return serve

    def forget(self, peer: bytes) -> None:
        """The peer is gone."""
        self._at_once.pop(peer, None)

    async def _answer_one(self, stream: PeerStream, length: int, answer: RequestHandler) -> None:
        with trio.fail_after(TRANSFER_S):
            request = await stream.receive_exactly(length)
        try:
            with trio.fail_after(HANDLER_S):
                response = await answer(stream.peer, request)
        except PeerFault as fault:
            self._on_fault(stream.peer, fault.code)
            raise ChannelBroken("the peer broke a rule") from None
        except FabricError as error:
            raise ChannelBroken(f"no answer: {error.code}") from None
        with trio.fail_after(TRANSFER_S):
            await stream.send(len(response).to_bytes(_LENGTH_BYTES, "big") + response)
