"""A requester's streams against providers that are slow, silent or hostile: every one ends, and none ends the node."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from market.duties import Role
from market.records import InputFile
from node import wire
from node.frames import FrameReader, send_frame
from node.job_file.request import JobRequest, LocalOutput
from node.lease_board import LeaseBoard
from node.ports import PeerUnreachable
from node.requester_files import RequesterFiles
from node.retry_pause import RetryPause
from tests.fakes.desks import RecordingNetwork, a_board
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_stream import MemoryStream
from tests.fakes.samples import BUYER, SPEC

CONTENT = b"0123456789"
FILE = InputFile(target="/work/in", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).digest())

Answer = Callable[[MemoryStream], Awaitable[None]]


class Desk:
    """A job of ours with one input and some outputs, and a provider whose answers are scripted stream by stream."""

    def __init__(self, root: Path, board: LeaseBoard) -> None:
        self.root, self.board = root, board
        self.network = RecordingNetwork(BUYER.key)
        self.served = 0
        self.files = RequesterFiles(root / "jobs", self.network)
        self.files.input_path("j", 0).write_bytes(CONTENT)

    def wants(self, *outputs: str) -> None:
        """The job's outputs, each into a folder of its own."""
        where = tuple(LocalOutput(source=path, destination=str(self.root / f"to{n}")) for n, path in enumerate(outputs))
        request = JobRequest(name="j", spec=replace(SPEC, outputs=outputs), max_price=1, max_total=1, outputs=where)
        self.files.adopt("j", request)

    async def provide(self, *answers: Answer) -> None:
        """Be the provider for as many streams as there are answers."""
        for answer in answers:
            with trio.fail_after(10):
                while len(self.network.far_ends) <= self.served:
                    await trio.testing.wait_all_tasks_blocked(0.01)
            self.served += 1
            await answer(self.network.far_ends[self.served - 1])


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    board = await a_board(MemoryJournal(), Role.REQUESTER, spec=replace(SPEC, inputs=(FILE,)), job_id="j")
    return Desk(tmp_path, board)


def packed(*files: tuple[str, bytes]) -> bytes:
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name, content in files:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()


def an_output(tar: bytes) -> Answer:
    async def answer(far: MemoryStream) -> None:
        await FrameReader(far).frame()
        await send_frame(far, {"size": len(tar), "sha256": hashlib.sha256(tar).digest()})
        await far.send(tar)
        await far.aclose()

    return answer


async def wait(far: MemoryStream) -> None:
    await FrameReader(far).frame()
    await send_frame(far, {"wait": True})
    await far.aclose()


async def take(far: MemoryStream) -> None:
    reader = FrameReader(far)
    assert (await reader.frame())["index"] == 0
    await send_frame(far, {"have": 4})
    got = b""
    while piece := await reader.raw(100):
        got += piece
    assert got == CONTENT[4:]
    await send_frame(far, {"ok": True})
    await far.aclose()


async def break_off(far: MemoryStream) -> None:
    await FrameReader(far).frame()
    far.break_now()


async def test_an_input_waits_until_the_provider_has_seen_the_payment(desk: Desk):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.provide, wait, wait, take)
        with trio.fail_after(10):
            await desk.files.send_input(desk.board, 0)
    assert desk.network.penalties == []


async def test_the_line_is_timed_by_the_bytes_that_really_went(desk: Desk):
    timed: list[tuple[bytes, int]] = []

    async def moved(provider: bytes, size: int, seconds: float) -> None:
        assert seconds >= 0
        timed.append((provider, size))

    desk.files.moved = moved
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.provide, wait, take)
        with trio.fail_after(10):
            await desk.files.send_input(desk.board, 0)
    assert timed == [(desk.board.provider, len(CONTENT) - 4)], "what the provider had already is not counted"


@pytest.mark.parametrize(
    "talk",
    [
        lambda files, board: files.send_input(board, 0),
        lambda files, board: files._copy_log(board, RetryPause()),
        lambda files, board: files.fetch_outputs(board),
    ],
)
async def test_a_provider_that_says_nothing_is_left(desk: Desk, talk: Any, autojump_clock: trio.testing.MockClock):
    desk.wants("/work/out")
    with pytest.raises(PeerUnreachable), trio.fail_after(2 * wire.STREAM_IDLE_TIMEOUT_S):
        await talk(desk.files, desk.board)
    assert desk.network.far_ends[0].is_over


async def test_a_log_goes_on_through_silence(desk: Desk):
    async def answer(far: MemoryStream) -> None:
        await FrameReader(far).frame()
        for offset, data in ((0, b""), (0, b"ab"), (2, b""), (2, b""), (2, b"c")):
            await send_frame(far, {"offset": offset, "data": data})
        await send_frame(far, {"end": True})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.provide, answer)
        assert await desk.files._copy_log(desk.board, RetryPause())
    assert desk.files.log_path("j").read_bytes() == b"abc"


async def fetched(desk: Desk, *answers: Answer) -> dict[str, Any]:
    """What the job's owner is told, read back from the journal."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.provide, *answers)
        summary = msgspec.json.encode(await desk.files.fetch_outputs(desk.board))
    told: dict[str, Any] = msgspec.json.decode(summary)
    return told


async def test_a_name_that_is_no_text_ends_in_a_summary_that_can_be_kept(desk: Desk):
    desk.wants("/work/out")
    told = await fetched(desk, an_output(packed(("out/ok\udcff\udcfe", b"1"))))
    assert (told["count"], told["problems"]) == (1, [])
    assert told["files"] == [str(desk.root / "to0" / "ok\\udcff\\udcfe")]


TWISTED: dict[str, tuple[tuple[str, bytes], ...]] = {
    "a name that no disk takes": (("out/" + "n" * 256, b"1"),),
    "a file below a file": (("out/a", b"1"), ("out/a/b", b"2")),
    "a file in the place of a folder": (("out/a/b", b"1"), ("out/a", b"2")),
    "a name that climbs and is no text": (("../\udcff", b"1"),),
    "a hidden name that is no text": (("out/.\udcff", b"1"), ("out/.x", b"1")),
}


@pytest.mark.parametrize("what", TWISTED)
async def test_an_archive_that_cannot_be_placed_is_a_problem_told_once(desk: Desk, what: str):
    desk.wants("/work/out")
    told = await fetched(desk, an_output(packed(*TWISTED[what])))
    assert told["count"] == 0
    assert str(desk.files.folder("j") / "output-0.tar") in told["problems"][-1]
    assert (desk.files.folder("j") / "output-0.tar").exists()


async def test_many_problems_are_told_in_few_lines(desk: Desk):
    desk.wants("/work/out")
    told = await fetched(desk, an_output(packed(*((f"out/.f{n}", b"") for n in range(500)))))
    assert len(told["problems"]) < 30
    assert "480 more" in told["problems"][-2]


async def test_a_finished_output_is_not_fetched_twice(desk: Desk):
    desk.wants("/work/a", "/work/b")
    first, second = (an_output(packed((name, b"1"))) for name in ("a", "b"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.provide, first, break_off, second)
        with pytest.raises(PeerUnreachable):
            await desk.files.fetch_outputs(desk.board)
        told = await desk.files.fetch_outputs(desk.board)
    assert (told["count"], told["problems"]) == (2, [])
    desk.files.forget(desk.board)
    assert not desk.files._fetched


async def test_an_output_fetched_again_after_a_restart_is_no_conflict_with_itself(desk: Desk):
    for _ in range(2):
        files = RequesterFiles(desk.root / "jobs", desk.network)
        desk.files = files
        desk.wants("/work/a")
        told = await fetched(desk, an_output(packed(("a", b"1"))))
        assert (told["count"], told["problems"]) == (1, [])


async def test_a_broken_log_stream_is_named_once_and_tried_less_and_less(
    desk: Desk, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "node.requester_files")
    desk.network.unreachable = True
    opened = count_streams(desk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.files.follow_logs, desk.board)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert 6 <= len(opened) <= 9, "after 0, 0.5, 1.5, 3.5, 7.5 and 15.5 seconds, then every 15"
    assert [record.message.split(": ")[1] for record in caplog.records] == ["log stream broke"]


async def test_a_log_that_goes_on_is_named_too(desk: Desk, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture):
    async def a_line_and_the_end(far: MemoryStream) -> None:
        assert (await FrameReader(far).frame())["offset"] == 0
        await send_frame(far, {"offset": 0, "data": b"x\n"})
        await send_frame(far, {"end": True})
        await far.aclose()

    caplog.set_level("INFO", "node.requester_files")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provide_in_time, desk, break_off, break_off, a_line_and_the_end)
        await desk.files.follow_logs(desk.board)
    said = [record.message.split(": ")[1] for record in caplog.records]
    assert said == ["log stream broke", "log stream goes on"]
    assert desk.files.log_path("j").read_bytes() == b"x\n"


async def test_a_pause_does_not_outlast_the_wait_for_the_last_lines(desk: Desk, autojump_clock: MockClock):
    async def the_end(far: MemoryStream) -> None:
        await FrameReader(far).frame()
        await send_frame(far, {"end": True})
        await far.aclose()

    desk.network.unreachable = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.files.follow_logs, desk.board)
        await trio.sleep(16)  # the next try is at 30.5 seconds
        desk.network.unreachable = False
        nursery.start_soon(provide_in_time, desk, the_end)
        await desk.files.wait_log_end(desk.board)
        assert desk.files.log_ended(desk.board)


async def provide_in_time(desk: Desk, *answers: Answer) -> None:
    """Like ``desk.provide``, where the time is the test's own."""
    for number, answer in enumerate(answers):
        while len(desk.network.far_ends) <= number:
            await trio.sleep(0.1)
        await answer(desk.network.far_ends[number])


def count_streams(desk: Desk) -> list[bytes]:
    """The peers that streams are asked of from now on."""
    opened: list[bytes] = []
    open_stream = desk.network.open_stream

    async def counted(peer: bytes, protocol: str) -> Any:
        opened.append(peer)
        return await open_stream(peer, protocol)

    desk.network.open_stream = counted  # type: ignore[method-assign]
    return opened
