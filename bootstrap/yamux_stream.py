"""One Yamux stream: its buffers, its two windows, and how it ends.

A stream never corrupts: a send that fails or is cancelled in the middle resets the stream, because the other
side could not tell the missing rest from the next message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from bootstrap.channel import ChannelBroken

if TYPE_CHECKING:
    from bootstrap.yamux import Yamux

INITIAL_WINDOW = 256 * 1024
"""Both windows at the start, fixed by the Yamux specification."""
MAX_WINDOW = 16 * 1024 * 1024
"""Most unread bytes one stream may hold. Windows grow towards it only while the reader keeps up."""
STALL_S = 300.0
"""A sender gives up when the other side has taken nothing for this long."""
_GROW_WITHIN_S = 0.05


class YamuxStream:
    """A channel inside a connection. Made by :class:`bootstrap.yamux.Yamux`."""

    def __init__(self, session: Yamux, number: int, finished: Callable[[YamuxStream], None]) -> None:
        self.number = number
        self.window = INITIAL_WINDOW
        self._session, self._finished = session, finished
        self._unread = bytearray()
        self._may_send = INITIAL_WINDOW
        self._may_receive = INITIAL_WINDOW
        self._to_credit = 0
        self._credited_at = -1.0
        self._sent_fin = self._got_fin = self._is_broken = False
        self._changed = trio.Event()
        self._sending = trio.Lock()

    @property
    def is_over(self) -> bool:
        """Whether nothing can be sent or will arrive any more, apart from what lies unread."""
        return self._is_broken or (self._sent_fin and self._got_fin)

    @property
    def is_fresh(self) -> bool:
        """Whether both directions are still open and nothing lies unread: fit for another request."""
        return not (self._is_broken or self._sent_fin or self._got_fin or self._unread)

    async def send(self, data: bytes) -> None:
        """Send all of it, waiting for the other side to read. Raises ``ChannelBroken``; the stream is then
        reset."""
        async with self._sending:
            view = memoryview(data)
            try:
                while view:
                    size = min(await self._wait_for_window(), len(view), self._session.MAX_FRAME)
                    self._may_send -= size
                    await self._session.send_data(self.number, view[:size])
                    view = view[size:]
            except BaseException:
                self.reset_now()
                raise

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next bytes; empty at the clean end. Raises ``ChannelBroken``."""
        while not self._unread:
            if self._is_broken:
                raise ChannelBroken("the stream was reset")
            if self._got_fin:
                return b""
            await self._changed.wait()
        data = bytes(self._unread[:max_bytes])
        del self._unread[:max_bytes]
        self._credit_sender(len(data))
        return data

    async def send_eof(self) -> None:
        """Say that nothing more comes from us."""
        async with self._sending:
            if not (self._sent_fin or self._is_broken):
                self._sent_fin = True
                self._session.post_fin(self.number)
                self._finish_if_over()

    async def aclose(self) -> None:
        """End it at once: with a reset, unless both sides have said all they had to say."""
        self.reset_now()
        await trio.lowlevel.checkpoint()

    def reset_now(self) -> None:
        """Break the stream on both sides, from here on. No effect on one that is over."""
        if not self.is_over:
            self._session.post_reset(self.number)
            self.on_broken()

    # --- what the session reports
    # ------------------------------------------------------------------------------

    def on_data(self, data: memoryview) -> None:
        if not self._is_broken:
            self._unread += data
            self._wake()

    def on_announced(self, length: int) -> bool:
        """The header of a data frame: ``False`` when the peer sends more than its window allows."""
        self._may_receive -= length
        return self._may_receive >= 0

    def on_credit(self, amount: int) -> None:
        self._may_send += amount
        self._wake()

    def on_fin(self) -> None:
        self._got_fin = True
        self._wake()
        self._finish_if_over()

    def on_broken(self) -> None:
        self._is_broken = True
        self._unread.clear()
        self._wake()
        self._finished(self)

    # --------------------------------------------------------------------------------------------------------
    # ----

    def _finish_if_over(self) -> None:
        if self.is_over:
            self._finished(self)

    async def _wait_for_window(self) -> int:
        while True:
            if self._is_broken or self._sent_fin:
                raise ChannelBroken("the stream is closed for sending")
            if self._may_send > 0:
                return self._may_send
            with trio.move_on_after(STALL_S) as stalled:
                await self._changed.wait()
            if stalled.cancelled_caught:
                raise ChannelBroken("the peer does not read")

    def _wake(self) -> None:
        self._changed.set()  # everyone who waits looks again
        self._changed = trio.Event()

    def _credit_sender(self, count: int) -> None:
        if self._got_fin or self._is_broken:
            return
        self._to_credit += count
        if self._to_credit < self.window // 4:
            return
        credit, self._to_credit = self._to_credit, 0
        now = trio.current_time()
        # A quarter of the window read within a few round trips: the window is what limits the transfer.
        if now - self._credited_at < max(4 * self._session.rtt, _GROW_WITHIN_S) and self.window < MAX_WINDOW:
            credit += self._session.grant_growth(self)
        self._credited_at = now
        self._may_receive += credit
        self._session.post_credit(self.number, credit)
