"""How a node stops: asked politely it says goodbye, and whatever hangs is cut off."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from node import app
from node.config import NodeConfig


def a_config(home: Path) -> NodeConfig:
    return NodeConfig(name="n", home=home, listen=(), introducers=(), api_socket=home / "api.sock")


@pytest.mark.parametrize("goodbye_s", [0.0, 1.0])
async def test_a_node_that_is_asked_to_stop_may_say_goodbye(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, autojump_clock: MockClock, goodbye_s: float
):
    done: list[str] = []

    async def serve(_config: NodeConfig, _password: str, stop: trio.Event) -> None:
        await stop.wait()
        await trio.sleep(goodbye_s)
        done.append("goodbye")

    monkeypatch.setattr(app, "_serve", serve)
    await stop_soon(tmp_path)
    assert done == ["goodbye"]
    assert trio.current_time() == pytest.approx(5 + goodbye_s)


async def test_a_node_that_hangs_is_cut_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, autojump_clock: MockClock):
    async def serve(_config: NodeConfig, _password: str, _stop: trio.Event) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(app, "_serve", serve)
    await stop_soon(tmp_path)
    assert trio.current_time() < 10


async def stop_soon(home: Path) -> None:
    """Run a node and send it SIGTERM after five seconds."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app._main, a_config(home), "")
            await trio.sleep(5)
            os.kill(os.getpid(), signal.SIGTERM)
