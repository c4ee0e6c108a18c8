"""A js-libp2p peer in a process of its own, told what to do line by line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

FOLDER = Path(__file__).parent / "js"
NODE = FOLDER / "node_modules" / ".bin" / "node"
DEADLINE_S = 20.0


class JsPeer:
    """The running peer.

    Attributes:
        addresses: where it listens.
        facts: what it reported on its own, in order.
    """

    def __init__(self, process: trio.Process) -> None:
        self.addresses: list[str] = []
        self.facts: list[dict[str, Any]] = []
        self._process = process
        self._answers: dict[int, Any] = {}
        self._news = trio.Event()
        self._count = 0

    async def tell(self, name: str, **arguments: Any) -> Any:
        """Have it do something, and return the result; its error fails the test."""
        self._count += 1
        number = self._count
        line = json.dumps({"number": number, "name": name, **arguments}) + "\n"
        assert self._process.stdin is not None
        await self._process.stdin.send_all(line.encode())
        await self.until(lambda: number in self._answers)
        answer = self._answers.pop(number)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    async def until(self, condition: Any) -> None:
        """Wait until it has said what makes the condition true."""
        with trio.fail_after(DEADLINE_S):
            while not condition():
                await self._news.wait()

    def heard(self) -> list[str]:
        """The gossip it heard."""
        return [fact["heard"] for fact in self.facts if "heard" in fact]

    async def listen(self) -> None:
        """Take in what it says, until it ends."""
        rest = b""
        assert self._process.stdout is not None
        async for chunk in self._process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, fact: dict[str, Any]) -> None:
        if "number" in fact:
            self._answers[fact["number"]] = fact
        elif "addresses" in fact:
            self.addresses = fact["addresses"]
        else:
            self.facts.append(fact)
        self._news.set()
        self._news = trio.Event()


@asynccontextmanager
async def js_peer() -> AsyncIterator[JsPeer]:
    """A js-libp2p peer that listens on loopback. Without its packages the test fails, it is not skipped."""
    if not NODE.exists():
        pytest.fail(f"the js-libp2p peer is not installed: run {FOLDER.name}/setup.sh beside this test (needs npm)")
    command = [str(NODE), str(FOLDER / "peer.mjs")]
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
        process = await nursery.start(run)
        peer = JsPeer(process)
        nursery.start_soon(peer.listen)
        await peer.until(lambda: peer.addresses)
        yield peer
        nursery.cancel_scope.cancel()
