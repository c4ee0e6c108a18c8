"""Engines that are missing, dead, far away or deaf each get one clear sentence."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
import trio

from market.errors import InvalidRequest, Unavailable
from runtime.docker_api import DockerApi, _knock, connect, one_line


async def refusal(url: str | None) -> Unavailable | InvalidRequest:
    with pytest.raises((Unavailable, InvalidRequest)) as refused:
        async with connect(url):
            pass
    assert isinstance(refused.value, Unavailable | InvalidRequest)
    return refused.value


def test_no_engine_names_the_command_that_installs_one(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as missing:
        _knock(f"{tmp_path}/docker.sock", "")
    assert missing.value.code == "engine_missing"
    assert "apt-get install" in missing.value.fix


def test_a_dead_engine_names_the_command_that_starts_it(tmp_path: Path) -> None:
    leave_socket(tmp_path)
    with pytest.raises(Unavailable) as dead:
        _knock(f"{tmp_path}/docker.sock", "")
    assert (dead.value.code, dead.value.fix) == ("engine_stopped", "sudo service docker start")


@pytest.mark.parametrize("dead", [True, False])
async def test_an_engine_that_was_named_is_not_called_uninstalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead: bool
) -> None:
    url = f"unix://{tmp_path}/docker.sock"
    if dead:
        leave_socket(tmp_path)
    error = await refusal(url)
    assert error.message == f"the container engine at {url} does not answer"
    assert "DOCKER_HOST" in error.fix
    monkeypatch.setenv("DOCKER_HOST", url)
    assert (await refusal(None)).message == error.message


def leave_socket(folder: Path) -> None:
    """As an engine that was killed does."""
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(folder / "docker.sock"))


async def test_an_engine_elsewhere_is_refused() -> None:
    error = await refusal("tcp://127.0.0.1:2375")
    assert (error.code, type(error)) == ("engine_remote", InvalidRequest)


async def test_a_call_that_takes_too_long_is_given_up() -> None:
    api = DockerApi(None, "")
    with trio.fail_after(5), pytest.raises(Unavailable) as slow:
        await api.call(time.sleep, 1, timeout=0.05)
    assert slow.value.code == "engine_slow"


async def test_a_connection_that_breaks_is_the_engines_fault() -> None:
    def broken() -> None:
        raise ConnectionResetError

    with pytest.raises(Unavailable) as lost:
        await DockerApi(None, "").call(broken)
    assert lost.value.code == "engine_unreachable"


def test_an_explanation_fits_on_a_line() -> None:
    assert one_line("a\n\tb\x1b[31m") == "a b[31m"
    assert len(one_line("x" * 5000)) == 300
    assert one_line(None) == ""
