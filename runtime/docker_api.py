"""Speak with a Docker Engine over its unix socket, from trio, without ever waiting for it without a limit.

Every other ``docker_*`` module goes through here. An engine can hang on a single container for minutes (seen on
releases in use), so each call has a deadline, after which its thread is left behind to die of its own socket time-out.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import docker
import docker.errors
import requests
import trio
import urllib3.exceptions
from docker.types import CancellableStream

from market.errors import InvalidRequest, Unavailable

T = TypeVar("T")
CALL_TIMEOUT_S = 20.0
MAX_THREADS = 64
MAX_STREAMS = 1024
CHUNK = 256 * 1024
QUIET_S = 0.25
"""After so long without more, a stream that is not chunked gives one empty piece."""
_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, docker.errors.DockerException)


class DockerApi:
    """A docker-py client whose calls run in threads with time limits.

    ``docker.errors.NotFound`` and other refusals of the engine (status 4xx) pass through for the caller to judge;
    everything that means "the engine is not well" becomes :class:`market.errors.Unavailable`.
    """

    def __init__(self, client: docker.APIClient, socket_path: str) -> None:
        self.client = client
        self.socket_path = socket_path
        self._limiter = trio.CapacityLimiter(MAX_THREADS)
        # Apart from the calls: a stream keeps its thread for a job's whole life, and must not starve them.
        self._streams = trio.CapacityLimiter(MAX_STREAMS)

    async def call(self, function: Callable[..., T], *args: Any, timeout: float = CALL_TIMEOUT_S, **kw: Any) -> T:
        """Run a blocking docker-py call.

        Raises:
            Unavailable: no answer within ``timeout`` seconds, or the engine failed.
            docker.errors.APIError: the engine refused the request (4xx).
        """
        try:
            with trio.fail_after(timeout):
                return await trio.to_thread.run_sync(  # type: ignore[call-arg] # outdated third-party stubs
                    partial(function, *args, **kw), abandon_on_cancel=True, limiter=self._limiter
                )
        except trio.TooSlowError as error:
            raise Unavailable(
                f"the container engine did not answer within {timeout:.0f} s", code="engine_slow"
            ) from error
        except docker.errors.APIError as error:
            if error.is_client_error():
                raise
            raise Unavailable(
                f"the container engine failed: {one_line(error.explanation)}", code="engine_failed"
            ) from error
        except _BROKEN as error:
            raise Unavailable(
                "the container engine cannot be reached", code="engine_unreachable", fix=START_ENGINE
            ) from error

    async def consume(
        self,
        path: str,
        params: dict[str, Any],
        reader: Callable[[Iterator[bytes]], T],
        *,
        method: str = "GET",
        answered: Callable[[], None] = lambda: None,
    ) -> T:
        """Give the body of an engine's endless answer to ``reader``, which runs in a thread of its own.

        ``answered`` is called once the engine has begun to answer. What the reader does not take, the engine soon
        stops producing: a slow reader slows the job down whose output it reads. Cancelling closes the connection,
        which ends the reader's iterator at once: no thread stays behind.

        Raises:
            Unavailable: the connection broke, or the engine failed.
            docker.errors.APIError: the engine refused the request.
        """
        response = await self.call(self._open, method, path, params)
        answered()
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_close_when_cancelled, response)
            try:
                result = await trio.to_thread.run_sync(reader, _chunks(response), limiter=self._streams)
            except Exception as error:  # noqa: BLE001 - raised again below, where no nursery wraps it in a group
                failure = error
            nursery.cancel_scope.cancel()
        if isinstance(failure, urllib3.exceptions.HTTPError | OSError):
            raise Unavailable("the container engine broke off", code="engine_unreachable") from failure
        if failure is not None:
            raise failure
        return result

    async def exists(self, path: str, params: dict[str, Any]) -> bool:
        """Whether the engine has something at ``path``.

        Raises:
            Unavailable: the engine failed.
            docker.errors.APIError: the engine refused to say.
        """
        try:
            (await self.call(self._open, "HEAD", path, params)).close()
        except docker.errors.NotFound:
            return False
        return True

    def _open(self, method: str, path: str, params: dict[str, Any]) -> requests.Response:
        url = f"{self.client.base_url}/v{self.client.api_version}{path}"
        # No read limit: a quiet job may say nothing for days. Cancelling closes the connection.
        # Asked to, the engine would compress archives, and a small answer could grow beyond all counting.
        response: requests.Response = self.client.request(
            method,
            url,
            params=params,
            headers={"Accept-Encoding": "identity"},
            stream=True,
            timeout=(CALL_TIMEOUT_S, None),
        )
        if response.status_code >= 400:
            try:
                response.raise_for_status()
            except requests.HTTPError as error:
                docker.errors.create_api_error_from_http_exception(error)
        return response


START_ENGINE = "sudo service docker start"
_INSTALL_ENGINE = "sudo apt-get install -y docker.io && sudo service docker start"
_JOIN_GROUP = 'sudo usermod -aG docker "$USER", then log in again'


@asynccontextmanager
async def connect(url: str | None) -> AsyncIterator[DockerApi]:
    """Connect to the engine at ``url``, or where ``DOCKER_HOST`` says, or at the usual socket.

    Raises:
        Unavailable: no engine, or it does not answer.
        InvalidRequest: not a unix socket, or we may not open it. ``fix`` is the exact command to run.
    """
    named = url or os.environ.get("DOCKER_HOST") or ""
    url = named or "unix:///var/run/docker.sock"
    scheme, _, path = url.partition("://")
    if scheme != "unix":
        # Meters, quotas and the hard stop all need the machine the jobs run on.
        raise InvalidRequest(
            f"the container engine must be on this machine, not at {url}",
            code="engine_remote",
            fix="unset DOCKER_HOST",
        )
    await trio.to_thread.run_sync(_knock, path, named)
    create = partial(docker.APIClient, base_url=url, version="auto", timeout=CALL_TIMEOUT_S)
    # Built as a call of itself so that an engine which accepts and then hangs is reported like any other.
    client = await DockerApi(None, path).call(create)
    try:
        yield DockerApi(client, path)
    finally:
        client.close()


def one_line(text: object) -> str:
    """An engine's explanation, fit to be shown: one line, bounded, printable."""
    line = " ".join(str(text or "").split())
    return "".join(char for char in line if char.isprintable())[:300]


def _knock(path: str, named: str) -> None:
    """``named`` is the address that the owner chose, empty for the usual one: what is not there may be elsewhere."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(CALL_TIMEOUT_S)
            probe.connect(path)
    except FileNotFoundError as error:
        if named:
            raise _silent(named) from error
        raise Unavailable("no container engine is installed", code="engine_missing", fix=_INSTALL_ENGINE) from error
    except PermissionError as error:
        raise InvalidRequest(
            f"this user may not use the container engine at {path}", code="engine_permission", fix=_JOIN_GROUP
        ) from error
    except OSError as error:
        if named:
            raise _silent(named) from error
        raise Unavailable("the container engine is not running", code="engine_stopped", fix=START_ENGINE) from error


def _silent(url: str) -> Unavailable:
    return Unavailable(
        f"the container engine at {one_line(url)} does not answer",
        code="engine_unreachable",
        fix="start that engine, or unset DOCKER_HOST and [provider].engine to use the one of this machine",
    )


def _chunks(response: requests.Response) -> Iterator[bytes]:
    if response.raw.chunked:
        yield from response.raw.stream(CHUNK, decode_content=False)
        return
    # A stream as it is, without chunks: each piece as it comes, not when there is a full CHUNK of it. The first read
    # also takes what was buffered behind the headers; from then on, what is to come is seen at the socket.
    more = select.poll()
    more.register(response.raw, select.POLLIN)
    while data := response.raw.read1(CHUNK, decode_content=False):
        yield data
        if not more.poll(QUIET_S * 1000):
            yield b""


async def _close_when_cancelled(response: requests.Response) -> None:
    try:
        await trio.sleep_forever()
    finally:
        # AttributeError and ValueError: the answer ended by itself and its socket is already given back.
        with suppress(AttributeError, ValueError, OSError):
            CancellableStream(None, response).close()
        response.close()
