"""A provider's streams against requesters that want its disk, its threads and its patience for nothing."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from ledger.payee import Payee
from ledger.voucher import SessionKey
from market.errors import PeerFault, Unavailable
from market.lease import OVER, CancelRequested, ContainerExited, ContainerStarted, LaneFunded, Stage
from market.records import ExitReason, InputFile, JobSpec
from node import wire
from node.frames import FrameReader, send_frame
from node.lease_board import LeaseBoard
from node.lease_files import LeaseFiles
from node.ports import PeerUnreachable
from node.provider_streams import ProviderStreams
from runtime.container_plan import HostFacts
from runtime.ports import ContainerSpec
from tests.fakes.desks import RecordingNetwork, a_board, a_seller
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_engine import JobScript, MemoryDocker, MemoryEngine
from tests.fakes.memory_stream import MemoryStream, stream_pair
from tests.fakes.samples import BUYER, NOW, PAYEE, SELLER, SPEC
from tests.simulation.marketplace import SimulatedClock

CONTENT = bytes(range(256)) * 2_000
FILE = InputFile(target="/work/in", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).digest())
MIB = 1 << 20


class CountingEngine(MemoryEngine):
    """Notes what is packed, and packs when the gate is open."""

    def __init__(self, docker: MemoryDocker) -> None:
        super().__init__(docker, "node")
        self.asked: list[tuple[str, int]] = []
        self.at_once = self.most_at_once = 0
        self.gate = trio.Event()
        self.gate.set()

    async def fetch_files(self, lease_id: str, path: str, tar_path: str, *, max_bytes: int) -> int:
        self.asked.append((path, max_bytes))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            return await super().fetch_files(lease_id, path, tar_path, max_bytes=max_bytes)
        finally:
            self.at_once -= 1


@dataclass
class Bench:
    """A provider that serves the streams of one lease, and a requester's ends of them."""

    network: RecordingNetwork
    nursery: trio.Nursery
    board: LeaseBoard
    boards: dict[bytes, LeaseBoard]
    engine: CountingEngine
    docker: MemoryDocker
    root: Path

    async def ask(self, protocol: str, board: LeaseBoard | None = None, **asked: Any) -> Asked:
        theirs, ours = stream_pair(BUYER.key, SELLER.key, lambda: 0.0, lambda: 0.0)
        asked_for = Asked(theirs, FrameReader(theirs))
        self.nursery.start_soon(asked_for.serve, self.network.stream_handlers[protocol], ours)
        await send_frame(theirs, {"lease": (board or self.board).lease_id, **asked})
        return asked_for

    async def fund(self) -> None:
        await self.board.record(LaneFunded(at=NOW, amount=1))

    async def end_job(self, files: dict[str, bytes], board: LeaseBoard | None = None) -> None:
        """The container ran, wrote ``files`` and exited; its lease is in ENDING."""
        board = board or self.board
        self.docker.script = lambda _spec: JobScript(files=files)
        name = board.lease_id.hex()
        await self.engine.ensure_created(
            ContainerSpec(lease_id=name, node_id="node", fencing=1, image="x", command=("x",), env={},
                          cpu_milli=1000, memory_mib=64, disk_mib=1, shm_mib=64, network="none", runtime="runc",
                          gpu_uuids=(), stop_after_ms=10**9)
        )  # fmt: skip
        await self.engine.ensure_started(name)
        for fact in (
            LaneFunded(at=NOW, amount=1),
            ContainerStarted(at=NOW, started_at=NOW),
            ContainerExited(at=NOW, reason=ExitReason.OK, exit_code=0, finished_at=NOW),
        ):
            assert await board.record(fact)
        assert board.state.stage is Stage.ENDING

    def kept(self) -> list[Path]:
        return list(self.root.iterdir())

    def on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())


class Asked:
    """One stream of the requester's, and how serving it ended."""

    def __init__(self, stream: MemoryStream, reader: FrameReader) -> None:
        self.stream, self.reader = stream, reader
        self.over = trio.Event()
        self.error: Exception | None = None

    async def serve(self, handler: Callable[[Any], Any], stream: MemoryStream) -> None:
        try:
            await handler(stream)
        except (PeerUnreachable, PeerFault, Unavailable) as error:
            self.error = error
            stream.break_now()
        finally:
            self.over.set()

    async def answer(self) -> Any:
        with trio.fail_after(5):
            return await self.reader.frame()

    async def rest(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size and (piece := await self.reader.raw(size - len(got))):
            got += piece
        return bytes(got)

    async def end(self) -> Exception | None:
        with trio.fail_after(5):
            await self.over.wait()
        return self.error


@asynccontextmanager
async def bench(root: Path, spec: JobSpec, **machine: Any) -> AsyncIterator[Bench]:
    clock, chain = SimulatedClock(), MemoryChain(SimulatedClock())
    async with a_seller(**machine) as seller, trio.open_nursery() as nursery:
        board = await a_board(seller.journal, spec=spec)
        seller.desk.boards[board.lease_id] = board
        docker = MemoryDocker(clock.now_ms, host=HostFacts(cpus=64))
        engine = CountingEngine(docker)
        ProviderStreams(
            seller.desk,
            network=seller.network,
            engine=engine,
            payee=Payee(chain.view(PAYEE), seller.journal, SessionKey(b"p" * 32), clock.now_ms),
            files=LeaseFiles(root),
            clock=clock,
        ).register()
        yield Bench(seller.network, nursery, board, seller.desk.boards, engine, docker, root)
        nursery.cancel_scope.cancel()


TAKES = replace(SPEC, inputs=(FILE,))


# --- inputs ----------------------------------------------------------------------------------------------------------


async def test_nothing_is_kept_for_a_lease_that_is_not_paid(tmp_path: Path, autojump_clock: trio.testing.MockClock):
    async with bench(tmp_path, TAKES) as provider:
        asked = await provider.ask(wire.PROTOCOL_INPUTS, index=0)
        assert await FrameReader(asked.stream).frame() == {"wait": True}
        await asked.over.wait()
        assert provider.kept() == []


async def test_a_payment_seen_a_moment_later_is_waited_for(tmp_path: Path):
    async with bench(tmp_path, TAKES) as provider:
        asked = await provider.ask(wire.PROTOCOL_INPUTS, index=0)
        await trio.testing.wait_all_tasks_blocked()
        assert provider.kept() == []
        await provider.fund()
        assert await asked.answer() == {"have": 0}
        await asked.stream.send(CONTENT)
        assert await asked.answer() == {"ok": True}


async def test_a_second_stream_for_one_input_waits_for_the_first(tmp_path: Path):
    async with bench(tmp_path, TAKES) as provider:
        await provider.fund()
        part = LeaseFiles(tmp_path).part_path(provider.board.lease_id, 0)
        first = await provider.ask(wire.PROTOCOL_INPUTS, index=0)
        assert await first.answer() == {"have": 0}
        for _ in range(5):
            assert await (await provider.ask(wire.PROTOCOL_INPUTS, index=0)).answer() == {"wait": True}
        await first.stream.send(CONTENT[:1000])
        with trio.fail_after(5):
            while not part.exists() or part.stat().st_size < 1000:
                await trio.testing.wait_all_tasks_blocked(0.01)
        first.stream.break_now()
        assert isinstance(await first.end(), PeerUnreachable)
        again = await provider.ask(wire.PROTOCOL_INPUTS, index=0)
        assert await again.answer() == {"have": 1000}
        await again.stream.send(CONTENT[1000:])
        assert await again.answer() == {"ok": True}


async def test_no_more_is_kept_than_was_declared(tmp_path: Path):
    async with bench(tmp_path, TAKES) as provider:
        await provider.fund()
        asked = await provider.ask(wire.PROTOCOL_INPUTS, index=0)
        assert await asked.answer() == {"have": 0}
        await asked.stream.send(b"z" * FILE.size)
        assert await asked.answer() == {"ok": False}
        assert provider.on_disk() == 0


async def test_a_part_that_is_too_long_is_begun_again(tmp_path: Path):
    async with bench(tmp_path, TAKES) as provider:
        await provider.fund()
        LeaseFiles(tmp_path).part_path(provider.board.lease_id, 0).write_bytes(CONTENT + b"x")
        assert await (await provider.ask(wire.PROTOCOL_INPUTS, index=0)).answer() == {"have": 0}


async def test_a_transfer_ends_with_the_lease_and_holds_no_file(tmp_path: Path):
    async with bench(tmp_path, TAKES) as provider:
        await provider.fund()
        asked = await provider.ask(wire.PROTOCOL_INPUTS, index=0)
        assert await asked.answer() == {"have": 0}
        await asked.stream.send(CONTENT[:1000])
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert _open_below(tmp_path)
        await provider.board.record(CancelRequested(at=NOW))
        assert provider.board.state.stage is not Stage.FUNDED
        assert isinstance(await asked.end(), Unavailable)
        assert (provider.on_disk(), _open_below(tmp_path)) == (0, [])


async def test_an_input_is_not_waited_for_in_a_stage_that_takes_none(tmp_path: Path):
    async with bench(tmp_path, TAKES) as provider:
        await provider.board.record(CancelRequested(at=NOW))
        assert provider.board.state.stage in OVER | {Stage.ENDING}
        asked = await provider.ask(wire.PROTOCOL_INPUTS, index=0)
        assert isinstance(await asked.end(), Unavailable)


def _open_below(folder: Path) -> list[str]:
    """Files below ``folder`` that this process holds open, deleted or not."""
    held = []
    for number in os.listdir("/proc/self/fd"):
        try:
            held.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return [name for name in held if name.startswith(str(folder))]


# --- outputs ---------------------------------------------------------------------------------------------------------

GIVES = replace(SPEC, outputs=("/work/out/a", "/work/out/b", "/work/out/c"))


async def test_an_output_is_packed_and_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path, GIVES) as provider:
        await provider.end_job({"out/a": b"12345"})
        seen = set()
        for offset in (0, 100, 0):
            asked = await provider.ask(wire.PROTOCOL_OUTPUTS, index=0, offset=offset)
            head = await asked.answer()
            data = await asked.rest(head["size"] - offset)
            seen.add((head["size"], head["sha256"]))
            if not offset:
                assert hashlib.sha256(data).digest() == head["sha256"]
                with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                    assert archive.getnames() == ["a"]
            monkeypatch.setattr("node.output_shelf.sha256_of", None)
        assert len(seen) == 1
        assert len(provider.engine.asked) == 1


async def test_all_outputs_together_fit_the_disk_that_was_bought(tmp_path: Path):
    async with bench(tmp_path, GIVES, disk_mib=1) as provider:
        await provider.end_job({"out/a": bytes(MIB // 2), "out/b": bytes(MIB // 2 - 20_000), "out/c": bytes(2 * MIB)})
        answers = []
        for index in (2, 0, 1, 1):
            asked = await provider.ask(wire.PROTOCOL_OUTPUTS, index=index, offset=0)
            answers.append(await asked.answer())
            await asked.rest(answers[-1].get("size", 0))
        assert answers[0] == {"missing": True}
        sizes = [answer["size"] for answer in answers[1:]]
        assert sum(sizes[:2]) <= MIB
        assert [most for _, most in provider.engine.asked] == [MIB, MIB, MIB - sizes[0]]
        assert provider.on_disk() <= MIB + 100


async def test_what_is_not_there_is_looked_for_once(tmp_path: Path):
    async with bench(tmp_path, GIVES) as provider:
        await provider.end_job({})
        for _ in range(3):
            asked = await provider.ask(wire.PROTOCOL_OUTPUTS, index=0, offset=0)
            assert await asked.answer() == {"missing": True}
        assert len(provider.engine.asked) == 1


async def test_few_streams_of_a_lease_and_few_archives_are_made_at_once(tmp_path: Path):
    async with bench(tmp_path, GIVES) as provider:
        await provider.end_job({"out/a": b"1"})
        provider.engine.gate = trio.Event()
        asked = [await provider.ask(wire.PROTOCOL_OUTPUTS, index=0, offset=0) for _ in range(30)]
        await trio.testing.wait_all_tasks_blocked()
        refused = [one for one in asked if one.over.is_set()]
        assert len(asked) - len(refused) == 4
        assert all(isinstance(one.error, Unavailable) for one in refused)
        assert provider.engine.most_at_once == 1
        provider.engine.gate.set()
        waiting = next(one for one in asked if one not in refused)
        assert "size" in await waiting.answer()


async def test_only_two_leases_pack_at_once(tmp_path: Path):
    async with bench(tmp_path, GIVES) as provider:
        provider.engine.gate = trio.Event()
        for number in range(5):
            board = await a_board(provider.board._journal, spec=GIVES, bid_id=bytes([number]) * 16)
            provider.boards[board.lease_id] = board
            await provider.end_job({"out/a": b"1"}, board)
            await provider.ask(wire.PROTOCOL_OUTPUTS, board, index=0, offset=0)
        await trio.testing.wait_all_tasks_blocked()
        assert provider.engine.at_once == 2
        provider.engine.gate.set()


async def test_an_output_is_not_packed_on_for_a_lease_that_is_over(tmp_path: Path):
    async with bench(tmp_path, GIVES) as provider:
        await provider.end_job({"out/a": b"1"})
        provider.engine.gate = trio.Event()
        asked = await provider.ask(wire.PROTOCOL_OUTPUTS, index=0, offset=0)
        await trio.testing.wait_all_tasks_blocked()
        assert provider.engine.at_once == 1
        provider.board.state = replace(provider.board.state, stage=Stage.SETTLED)
        provider.board._announce()
        assert isinstance(await asked.end(), Unavailable)
        assert provider.engine.at_once == 0


# --- logs ------------------------------------------------------------------------------------------------------------


async def test_a_silent_log_still_says_that_we_are_here(tmp_path: Path, autojump_clock: trio.testing.MockClock):
    async with bench(tmp_path, SPEC) as provider:
        asked = await provider.ask(wire.PROTOCOL_LOGS, offset=7)
        for _ in range(10):
            assert await asked.reader.frame() == {"offset": 7, "data": b""}
        assert not asked.over.is_set()


async def test_a_reader_that_is_gone_is_noticed_though_the_job_is_silent(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
):
    async with bench(tmp_path, SPEC) as provider:
        asked = await provider.ask(wire.PROTOCOL_LOGS, offset=0)
        await trio.testing.wait_all_tasks_blocked()
        asked.stream.break_now()
        with trio.fail_after(wire.STREAM_IDLE_TIMEOUT_S):
            await asked.over.wait()
        assert isinstance(asked.error, PeerUnreachable)


async def test_few_log_streams_of_a_lease_are_open_at_once(tmp_path: Path):
    async with bench(tmp_path, SPEC) as provider:
        asked = [await provider.ask(wire.PROTOCOL_LOGS, offset=0) for _ in range(30)]
        await trio.testing.wait_all_tasks_blocked()
        assert sum(not one.over.is_set() for one in asked) == 4
