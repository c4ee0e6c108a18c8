"""Yamux: many streams over one encrypted connection, against a peer that may be hostile.

The parsing is synchronous and holds all the rules; the two tasks of a session only move bytes. Bounds:
streams the peer may open, unread bytes (windows are enforced, and grow out of one budget), control frames
waiting to be sent, silence (a missing pong closes the connection).

Source: https://github.com/hashicorp/yamux/blob/master/spec.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import trio

from bootstrap.channel import Channel, ChannelBroken
from bootstrap.yamux_stream import INITIAL_WINDOW, MAX_WINDOW, YamuxStream

PROTOCOL = "/yamux/1.0.0"
MAX_INBOUND_STREAMS = 128
MAX_OUTBOUND_STREAMS = 48
"""go-libp2p resets what goes beyond about 64 streams of one peer and protocol."""
GROWTH_BUDGET = 32 * 1024 * 1024
"""Sum by which the windows of one connection may grow: with the initial ones, all that a peer can pin in
memory."""
PING_EVERY_S = 15.0
PONG_WITHIN_S = 20.0
SEND_WITHIN_S = 60.0
_MAX_POSTED = 64 * 1024

_HEADER = struct.Struct("!BBHII")
_DATA, _WINDOW_UPDATE, _PING, _GO_AWAY = range(4)
_SYN, _ACK, _FIN, _RST = 1, 2, 4, 8


class Yamux:
    """One session. :meth:`run` moves the bytes until the connection is over; then every stream is broken.

    Attributes:
        rtt: the last measured round trip in seconds, 0.0 before the first.
    """

    MAX_FRAME = 64 * 1024 - _HEADER.size

    def __init__(self, channel: Channel, *, is_dialer: bool, on_stream: Callable[[YamuxStream], None]) -> None:
        self.rtt = 0.0
        self._channel, self._on_stream = channel, on_stream
        self._next_number = 1 if is_dialer else 2
        self._peer_parity = self._next_number % 2 ^ 1
        self._streams: dict[int, YamuxStream] = {}
        self._inbound = 0
        self._may_open = trio.Semaphore(MAX_OUTBOUND_STREAMS)
        self._growth_left = GROWTH_BUDGET
        self._is_over = False
        self._sending = trio.Lock()
        self._posted = bytearray()
        self._post_waits = trio.Event()
        self._rest = b""
        self._body_left, self._body_flags = 0, 0
        self._body_of: YamuxStream | None = None
        self._ping, self._pong = 0, trio.Event()

    async def run(self) -> None:
        """Serve the connection until it ends. Never raises for anything the peer does."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, nursery.cancel_scope)
                nursery.start_soon(self._send_posted, nursery.cancel_scope)
                nursery.start_soon(self._watch_peer, nursery.cancel_scope)
        finally:
            self._is_over = True
            for stream in list(self._streams.values()):
                stream.on_broken()
            await self._channel.aclose()

    async def open(self) -> YamuxStream:
        """A new stream; waits while too many are open. Raises ``ChannelBroken`` when the session is over."""
        await self._may_open.acquire()
        if self._is_over:
            self._may_open.release()
            raise ChannelBroken("the connection is closed")
        stream = YamuxStream(self, self._next_number, self._forget_own)
        self._next_number += 2
        self._streams[stream.number] = stream
        self._post(_WINDOW_UPDATE, _SYN, stream.number, 0)
        return stream

    # --- for the streams
    # -----------------------------------------------------------------------------------------

    async def send_data(self, number: int, data: memoryview) -> None:
        await self._send(_HEADER.pack(0, _DATA, 0, number, len(data)) + data)

    def post_fin(self, number: int) -> None:
        self._post(_DATA, _FIN, number, 0)

    def post_reset(self, number: int) -> None:
        self._post(_WINDOW_UPDATE, _RST, number, 0)

    def post_credit(self, number: int, amount: int) -> None:
        self._post(_WINDOW_UPDATE, 0, number, amount)

    def grant_growth(self, stream: YamuxStream) -> int:
        """Double a stream's window if the budget of the connection allows; the number of bytes it grew by."""
        growth = min(stream.window, MAX_WINDOW - stream.window)
        if growth > self._growth_left:
            return 0
        self._growth_left -= growth
        stream.window += growth
        return growth

    # --- moving bytes
    # --------------------------------------------------------------------------------------------

    async def _read(self, scope: trio.CancelScope) -> None:
        try:
            while data := await self._channel.receive():
                self._feed(data)
        except ChannelBroken:
            pass
        scope.cancel()

    async def _send_posted(self, scope: trio.CancelScope) -> None:
        try:
            while True:
                await self._post_waits.wait()
                await self._send(b"")
        except ChannelBroken:
            scope.cancel()

    async def _watch_peer(self, scope: trio.CancelScope) -> None:
        """Measure the round trip; a peer that vanished without a word is noticed by its missing pong."""
        while True:
            self._ping += 1
            self._pong = trio.Event()
            sent_at = trio.current_time()
            self._post(_PING, _SYN, 0, self._ping)
            with trio.move_on_after(PONG_WITHIN_S) as silent:
                await self._pong.wait()
            if silent.cancelled_caught:
                scope.cancel()
            self.rtt = trio.current_time() - sent_at
            await trio.sleep(PING_EVERY_S)

    async def _send(self, frame: bytes) -> None:
        """Send a frame after everything posted before it. It goes out whole or the connection dies.

        The shield is what allows callers to be cancelled: half a Noise packet on the wire would garble every
        stream.
        """
        async with self._sending:
            posted = bytes(self._posted)
            self._posted.clear()
            if self._post_waits.is_set():  # an unset event is the one that the flushing task waits on
                self._post_waits = trio.Event()
            if not (posted or frame):
                return
            if self._is_over:
                raise ChannelBroken("the connection is closed")
            try:
                with trio.CancelScope(shield=True), trio.fail_after(SEND_WITHIN_S):
                    await self._channel.send(posted + frame)
            except (trio.TooSlowError, ChannelBroken):
                await self._channel.aclose()  # wakes the reader, which ends the session
                raise ChannelBroken("the peer does not drain the connection") from None

    def _post(self, kind: int, flags: int, number: int, length: int) -> None:
        """Queue a control frame. Reading never waits for writing, so two busy peers cannot block each
        other."""
        if not self._is_over:
            self._posted += _HEADER.pack(0, kind, flags, number, length)
            self._post_waits.set()

    # --- the rules
    # -----------------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        view = memoryview(self._rest + data if self._rest else data)
        while view:
            if self._body_left:
                size = min(self._body_left, len(view))
                self._on_body(view[:size])
            elif len(view) >= _HEADER.size:
                size = _HEADER.size
                self._on_header(*_HEADER.unpack_from(view))
            else:
                break
            view = view[size:]
        self._rest = bytes(view)  # less than one header
        if len(self._posted) > _MAX_POSTED:
            raise ChannelBroken("the peer asks for answers but does not read them")

    def _on_header(self, version: int, kind: int, flags: int, number: int, length: int) -> None:
        if version != 0 or kind > _GO_AWAY:
            raise ChannelBroken("not a yamux frame")
        if kind == _GO_AWAY:
            raise ChannelBroken("the peer is going away")
        if kind == _PING:
            self._on_ping(flags, length)
            return
        stream = self._streams.get(number)
        if flags & _SYN:
            stream = self._on_syn(number)
        if kind == _DATA and length:
            if length > MAX_WINDOW or (stream is not None and not stream.on_announced(length)):
                raise ChannelBroken("the peer ignores the receive window")
            self._body_of, self._body_left, self._body_flags = stream, length, flags
            return
        if stream is not None and kind == _WINDOW_UPDATE and length:
            stream.on_credit(length)
        self._on_end(stream, flags)

    def _on_body(self, body: memoryview) -> None:
        self._body_left -= len(body)
        if self._body_of is not None:
            self._body_of.on_data(body)
        if not self._body_left:
            self._on_end(self._body_of, self._body_flags)
            self._body_of = None

    def _on_syn(self, number: int) -> YamuxStream | None:
        if number == 0 or number % 2 != self._peer_parity or number in self._streams:
            raise ChannelBroken("a stream with an impossible number")
        if self._inbound >= MAX_INBOUND_STREAMS:
            self.post_reset(number)
            return None
        self._inbound += 1
        stream = self._streams[number] = YamuxStream(self, number, self._forget_peers)
        self._post(_WINDOW_UPDATE, _ACK, number, 0)
        self._on_stream(stream)
        return stream

    def _on_end(self, stream: YamuxStream | None, flags: int) -> None:
        if stream is not None and flags & _RST:
            stream.on_broken()
        elif stream is not None and flags & _FIN:
            stream.on_fin()

    def _on_ping(self, flags: int, value: int) -> None:
        if flags & _SYN:
            self._post(_PING, _ACK, 0, value)
        elif flags & _ACK and value == self._ping:
            self._pong.set()

    def _forget_own(self, stream: YamuxStream) -> None:
        if self._forget(stream):
            self._may_open.release()

    def _forget_peers(self, stream: YamuxStream) -> None:
        if self._forget(stream):
            self._inbound -= 1

    def _forget(self, stream: YamuxStream) -> bool:
        if self._streams.pop(stream.number, None) is None:
            return False
        self._growth_left += stream.window - INITIAL_WINDOW
        return True
