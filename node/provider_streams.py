"""The provider's end of inputs, logs, outputs, and of the two small requests about a lease: cancel and close.

Only the requester of a lease gets past the first line of any of these.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import trio

from ledger.payee import Payee
from ledger.ports import LaneKey
from market import codec
from market.errors import InvalidRequest, PeerFault, Unavailable
from market.lease import OVER, CancelRequested, Stage
from node import wire
from node.frames import FrameReader, send_frame
from node.lease_board import LeaseBoard
from node.lease_files import LeaseFiles, sha256_of
from node.ports import ByteStream, Clock, Network
from node.provider import ProviderDesk
from runtime.ports import ContainerEngine, ContainerLost

_LARGEST_NUMBER = 2**53
"""File positions beyond this cannot even be asked of the operating system."""
_TAKES_INPUTS = frozenset({Stage.GRANTED, Stage.FUNDED})


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
        self._packing: WeakValueDictionary[bytes, trio.Lock] = WeakValueDictionary()

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
        if board.state.stage not in _TAKES_INPUTS:
            # An honest requester repeats an input whose acceptance was lost on the way.
            raise Unavailable("no input is expected now", code="wrong_stage")
        expected = board.spec.inputs[index]
        if self._files.input_path(board.lease_id, index).exists():
            await send_frame(stream, {"have": expected.size})
            ok = True
        else:
            part = self._files.part_path(board.lease_id, index)
            await send_frame(stream, {"have": part.stat().st_size if part.exists() else 0})
            await self._receive(reader, part, expected.size)
            ok = await self._files.complete(board.lease_id, index, expected)
        await send_frame(stream, {"ok": ok})
        await stream.aclose()

    async def _receive(self, reader: FrameReader, part: Path, size: int) -> None:
        async with await trio.open_file(part, "ab") as file:
            have = await file.tell()
            while have < size:
                piece = await reader.raw(min(wire.CHUNK, size - have))
                if not piece:
                    return
                await file.write(piece)
                have += len(piece)

    async def _give_output(self, stream: ByteStream) -> None:
        reader = FrameReader(stream)
        asked = await reader.frame(limit=1024)
        board = self._board(stream.peer, asked)
        index, offset = _number(asked, "index"), _number(asked, "offset")
        if index >= len(board.spec.outputs):
            raise PeerFault("the job has no such output", code="unexpected_output")
        if board.state.stage is not Stage.ENDING:
            raise Unavailable("no output is ready now", code="wrong_stage")
        tar = self._files.part_path(board.lease_id, index).with_name(f"output-{index}.tar")
        if not tar.exists() and not await self._pack(board, board.spec.outputs[index], tar):
            await send_frame(stream, {"missing": True})
            await stream.aclose()
            return
        try:
            digest = await trio.to_thread.run_sync(sha256_of, tar)
            file = await trio.open_file(tar, "rb")
        except FileNotFoundError:
            raise Unavailable("the lease ended while its output was asked for", code="unknown_lease") from None
        async with file:
            size = await file.seek(0, os.SEEK_END)
            await send_frame(stream, {"size": size, "sha256": digest})
            await file.seek(min(offset, size))
            while piece := await file.read(wire.CHUNK):
                await stream.send(piece)
        await stream.aclose()

    async def _pack(self, board: LeaseBoard, path: str, tar: Path) -> bool:
        # One at a time: two streams that ask for one output would write into each other's file.
        lock = self._packing.setdefault(board.lease_id, trio.Lock())
        async with lock:
            if await trio.Path(tar).exists():
                return True
            fresh = tar.with_suffix(".fetching")
            try:
                await self._engine.fetch_files(board.lease_id.hex(), path, str(fresh), max_bytes=wire.MAX_TRANSFER)
                fresh.rename(tar)
            except (FileNotFoundError, InvalidRequest, ContainerLost):
                fresh.unlink(missing_ok=True)
                return False
            return True

    async def _give_log(self, stream: ByteStream) -> None:
        reader = FrameReader(stream)
        asked = await reader.frame(limit=1024)
        board = self._board(stream.peer, asked)
        offset = _number(asked, "offset")
        while board.state.stage in _TAKES_INPUTS:
            await board.wait_change()
        if board.state.started_at and board.state.stage not in OVER:
            async with self._engine.follow_logs(board.lease_id.hex(), offset) as chunks:
                async for chunk in chunks:
                    await send_frame(stream, {"offset": chunk.offset, "data": chunk.data})
        await send_frame(stream, {"end": True})
        await stream.aclose()

    async def _cancel(self, peer: bytes, request: bytes) -> bytes:
        board = self._board(peer, codec.unpack(request))
        await board.record(CancelRequested(at=self._clock.now_ms()))
        return codec.pack({"stage": str(board.state.stage)})

    async def _consent_to_close(self, peer: bytes, request: bytes) -> bytes:
        """Sign the proposed split of a lane. Worth nothing without the payer's own consent, so anybody may ask."""
        asked = codec.unpack(request)
        lane = LaneKey(
            payer=_bytes(asked, "payer", 20), payee=_bytes(asked, "payee", 20), signer=_bytes(asked, "signer", 20)
        )
        cumulative = int.from_bytes(_bytes(asked, "cumulative", 12), "big")
        deadline_s = _number(asked, "deadline")
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
