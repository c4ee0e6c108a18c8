"""The provider's end of inputs, logs, outputs, and of the two small requests about a lease: cancel and close.

Only the requester of a lease gets past the first line of any of these.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import trio

from ledger.payee import Payee
from ledger.ports import LaneKey
from ledger.voucher import check_lane_proof
from market import codec
from market.errors import InvalidRequest, PeerFault, Unavailable
from market.lease import OVER, CancelRequested, Stage
from node import wire
from node.frames import FrameReader, in_time, send_frame, send_raw
from node.lane_subjects import close_subject
from node.lease_board import LeaseBoard
from node.lease_files import LeaseFiles
from node.lease_streams import StreamPlaces, beside, while_stage
from node.output_shelf import OutputShelf
from node.ports import ByteStream, Clock, Network
from node.provider import ProviderDesk
from runtime.ports import ContainerEngine, LogChunk

_LARGEST_NUMBER = 2**53
"""File positions beyond this cannot even be asked of the operating system."""
_NOT_STARTED = frozenset({Stage.GRANTED, Stage.FUNDED})
_TAKES_INPUTS = frozenset({Stage.FUNDED})
"""Not before: a grant costs its holder nothing, so nothing of ours may be spent on it."""
_GIVES_OUTPUTS = frozenset({Stage.ENDING})
_FUNDING_PATIENCE_S = 10.0
_STREAMS_PER_LEASE = 4
"""Of each kind. An honest requester needs one; after a cut that only it has noticed, two."""
_BEAT_S = wire.STREAM_IDLE_TIMEOUT_S / 3
"""A job may be silent for hours; its log stream may not, or neither side would know that the other is gone."""


class ProviderStreams:
    """Serves the files and logs of leases."""

    def __init__(
        self,
        desk: ProviderDesk,
        *,
        network: Network,
        engine: ContainerEngine,
        payee: Payee,
        files: LeaseFiles,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._network = network
        self._engine = engine
        self._payee = payee
        self._files = files
        self._clock = clock
        self._shelf = OutputShelf(desk, engine, files)
        self._places = StreamPlaces()

    def register(self) -> None:
        """Answer on all five protocols. Call before the network talks."""
        self._network.serve_stream(wire.PROTOCOL_INPUTS, self._take_input)
        self._network.serve_stream(wire.PROTOCOL_OUTPUTS, self._give_output)
        self._network.serve_stream(wire.PROTOCOL_LOGS, self._give_log)
        self._network.serve(wire.PROTOCOL_CANCEL, self._cancel, max_request=1024)
        self._network.serve(wire.PROTOCOL_CLOSE, self._consent_to_close, max_request=1024)

    async def _take_input(self, stream: ByteStream) -> None:
        reader = FrameReader(stream)
        asked = await reader.frame(limit=1024)
        board = self._board(stream.peer, asked)
        index = _number(asked, "index")
        if index >= len(board.spec.inputs):
            raise PeerFault("the job has no such input", code="unexpected_input")
        # One at a time: a file with two writers grows beyond its size, and every one of them costs disk.
        with self._places.place((board.lease_id, wire.PROTOCOL_INPUTS, index), most=1) as free:
            if not free or not await self._is_funded(board):
                await send_frame(stream, {"wait": True})
                await stream.aclose()
                return
            part = self._files.part_path(board.lease_id, index)
            try:
                await while_stage(board, _TAKES_INPUTS, partial(self._receive, stream, reader, board, index))
            finally:
                if board.state.stage not in _TAKES_INPUTS:
                    part.unlink(missing_ok=True)

    async def _is_funded(self, board: LeaseBoard) -> bool:
        """Whether disk may be spent on the lease. The requester sees its own payment a moment before we do."""
        with trio.move_on_after(_FUNDING_PATIENCE_S):
            while board.state.stage is Stage.GRANTED:
                await board.wait_change()
        if board.state.stage not in (Stage.GRANTED, *_TAKES_INPUTS):
            # An honest requester repeats an input whose acceptance was lost on the way.
            raise Unavailable("no input is expected now", code="wrong_stage")
        return board.state.stage in _TAKES_INPUTS

    async def _receive(self, stream: ByteStream, reader: FrameReader, board: LeaseBoard, index: int) -> None:
        expected, ok = board.spec.inputs[index], True
        if self._files.input_path(board.lease_id, index).exists():
            await send_frame(stream, {"have": expected.size})
        else:
            part = self._files.part_path(board.lease_id, index)
            if part.exists() and part.stat().st_size > expected.size:
                part.unlink()
            await send_frame(stream, {"have": part.stat().st_size if part.exists() else 0})
            await _append_all(reader, part, expected.size)
            ok = await self._files.complete(board.lease_id, index, expected)
        await send_frame(stream, {"ok": ok})
        with in_time():
            await stream.aclose()

    async def _give_output(self, stream: ByteStream) -> None:
        asked = await FrameReader(stream).frame(limit=1024)
        board = self._board(stream.peer, asked)
        index, offset = _number(asked, "index"), _number(asked, "offset")
        if index >= len(board.spec.outputs):
            raise PeerFault("the job has no such output", code="unexpected_output")
        if board.state.stage is not Stage.ENDING:
            raise Unavailable("no output is ready now", code="wrong_stage")
        with self._places.place((board.lease_id, wire.PROTOCOL_OUTPUTS), most=_STREAMS_PER_LEASE) as free:
            if not free:
                raise Unavailable("this lease has enough streams open", code="busy")
            await while_stage(board, _GIVES_OUTPUTS, partial(self._send_output, stream, board, index, offset))

    async def _send_output(self, stream: ByteStream, board: LeaseBoard, index: int, offset: int) -> None:
        packed = await self._shelf.packed(board, index)
        if packed is None:
            await send_frame(stream, {"missing": True})
        else:
            async with await trio.open_file(packed.tar, "rb") as file:
                size = await file.seek(0, os.SEEK_END)
                await send_frame(stream, {"size": size, "sha256": packed.sha256})
                await file.seek(min(offset, size))
                while piece := await file.read(wire.CHUNK):
                    await send_raw(stream, piece)
        with in_time():
            await stream.aclose()

    async def _give_log(self, stream: ByteStream) -> None:
        asked = await FrameReader(stream).frame(limit=1024)
        board = self._board(stream.peer, asked)
        sender = _LogSender(stream, _number(asked, "offset"))
        with self._places.place((board.lease_id, wire.PROTOCOL_LOGS), most=_STREAMS_PER_LEASE) as free:
            if not free:
                raise Unavailable("this lease has enough streams open", code="busy")
            await beside(sender.beat_forever, partial(self._send_log, sender, board))
            with in_time():
                await stream.aclose()

    async def _send_log(self, sender: _LogSender, board: LeaseBoard) -> None:
        while board.state.stage in _NOT_STARTED:
            await board.wait_change()
        if board.state.started_at and board.state.stage not in OVER:
            async with self._engine.follow_logs(board.lease_id.hex(), sender.offset) as chunks:
                async for chunk in chunks:
                    await sender.send(chunk)
        await sender.end()

    async def _cancel(self, peer: bytes, request: bytes) -> bytes:
        board = self._board(peer, codec.unpack(request))
        await board.record(CancelRequested(at=self._clock.now_ms()))
        return codec.pack({"stage": str(board.state.stage)})

    async def _consent_to_close(self, peer: bytes, request: bytes) -> bytes:
        """Sign the proposed split of a lane, for the holder of its session key only.

        The consent is worth nothing without the payer's own, but giving it keeps new leases off the lane for a while.
        """
        asked = codec.unpack(request)
        lane = LaneKey(
            payer=_bytes(asked, "payer", 20), payee=_bytes(asked, "payee", 20), signer=_bytes(asked, "signer", 20)
        )
        cumulative = int.from_bytes(_bytes(asked, "cumulative", 12), "big")
        deadline_s, epoch = _number(asked, "deadline"), _number(asked, "epoch")
        subject = close_subject(peer, epoch, cumulative, deadline_s)
        check_lane_proof(self._payee.domain, lane, subject, _bytes(asked, "proof", 64))
        try:
            consent = await self._payee.consent_close(lane, cumulative, deadline_s)
        except (PeerFault, InvalidRequest) as error:
            return codec.pack({"refused": error.code})
        return codec.pack({"consent": consent})

    def _board(self, peer: bytes, asked: Any) -> LeaseBoard:
        lease_id = asked.get("lease") if isinstance(asked, dict) else None
        if not isinstance(lease_id, bytes):
            raise PeerFault("a request that names no lease", code="bad_field")
        return self._desk.board(lease_id, peer)


class _LogSender:
    """Sends a log in order, and an empty piece of it whenever nothing was said for a while."""

    def __init__(self, stream: ByteStream, offset: int) -> None:
        self._stream = stream
        self._turn = trio.Lock()
        self.offset = offset

    async def send(self, chunk: LogChunk) -> None:
        async with self._turn:
            await send_frame(self._stream, {"offset": chunk.offset, "data": chunk.data})
            self.offset = chunk.offset + len(chunk.data)

    async def beat_forever(self) -> None:
        while True:
            await trio.sleep(_BEAT_S)
            async with self._turn:
                await send_frame(self._stream, {"offset": self.offset, "data": b""})

    async def end(self) -> None:
        async with self._turn:
            await send_frame(self._stream, {"end": True})


async def _append_all(reader: FrameReader, part: Path, size: int) -> None:
    """Append what arrives until the file has ``size`` bytes or the stream has ended. The file itself is asked."""
    async with await trio.open_file(part, "ab", buffering=0) as file:
        while (room := size - os.fstat(file.fileno()).st_size) > 0:
            piece = await reader.raw(min(wire.CHUNK, room))
            if not piece:
                return
            if len(piece) > room:
                raise PeerFault("more bytes than the input has", code="oversized")
            if await file.write(piece) < len(piece):
                raise Unavailable("the disk is full", code="disk_full")


def _number(asked: Any, name: str) -> int:
    value = asked.get(name) if isinstance(asked, dict) else None
    if type(value) is not int or not 0 <= value <= _LARGEST_NUMBER:
        raise PeerFault(f"a request without '{name}'", code="bad_field")
    return value


def _bytes(asked: Any, name: str, length: int) -> bytes:
    value = asked.get(name) if isinstance(asked, dict) else None
    if not isinstance(value, bytes) or len(value) != length:
        raise PeerFault(f"a request without '{name}'", code="bad_field")
    return value
