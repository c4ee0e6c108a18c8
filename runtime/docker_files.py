"""Carry files into a container before it starts and out of it after it ends, through the engine's archive calls.

Only below ``/work``: everything else of a job's file system is read-only or vanishes. The engine resolves links inside
the container's own tree; what comes out is checked by ``artifacts.py`` before anybody is told it is there.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path

import docker.errors
import trio

from market.errors import InvalidRequest
from runtime.artifacts import TarLimits, check_tar, reowned
from runtime.container_plan import JOB_UID, WORK_DIR
from runtime.docker_api import DockerApi, one_line

PUT_TIMEOUT_S = 3600.0
MAX_INPUT_BYTES = 2**40


class DockerFiles:
    """Files of one engine's containers."""

    def __init__(self, api: DockerApi) -> None:
        self._api = api

    async def put(self, container: str, target: str, tar_path: str) -> None:
        """Unpack a tar under ``target`` as files of the job's user. Repeating it writes the same files again.

        Raises:
            InvalidRequest: a target outside ``/work``, an unsafe archive, or more than the volume holds.
        """
        below = inside_work(target)
        await trio.to_thread.run_sync(check_tar, tar_path, TarLimits(max_bytes=MAX_INPUT_BYTES))
        body = _Abandonable(reowned(tar_path, below=below, owner=JOB_UID))
        try:
            await self._api.call(self._api.client.put_archive, container, WORK_DIR, body, timeout=PUT_TIMEOUT_S)
        except docker.errors.APIError as error:
            raise InvalidRequest(
                f"the inputs do not fit under {target}: {one_line(error.explanation)}", code="inputs_refused"
            ) from error
        finally:
            body.abandon()

    async def fetch(self, container: str, path: str, tar_path: str, *, max_bytes: int) -> int:
        """Write ``path`` of the container as a checked tar to ``tar_path``; returns the tar's size.

        Raises:
            FileNotFoundError: nothing at that path.
            InvalidRequest: outside ``/work``, over ``max_bytes``, or an unsafe archive. No file is left then.
        """
        inside_work(path)
        fresh = Path(f"{tar_path}.part")
        try:
            size: int = await self._api.consume(
                f"/containers/{container}/archive", {"path": path}, _writer(fresh, max_bytes)
            )
            if size > max_bytes:
                raise InvalidRequest(f"{path} is larger than {max_bytes} bytes", code="output_too_large")
            await trio.to_thread.run_sync(check_tar, fresh, TarLimits(max_bytes=max_bytes))
            os.replace(fresh, tar_path)
        except docker.errors.NotFound as error:
            raise FileNotFoundError(path) from error
        finally:
            fresh.unlink(missing_ok=True)  # noqa: ASYNC240 - one unlink of our own small directory
        return size


def inside_work(path: str) -> str:
    """The part of ``path`` below ``/work``.

    Raises:
        InvalidRequest: it leads elsewhere.
    """
    if "\0" in path or ".." in path.split("/"):
        raise InvalidRequest(f"unsafe path {path[:100]!r}", code="bad_path")
    clean = posixpath.normpath(path)
    if clean != WORK_DIR and not clean.startswith(f"{WORK_DIR}/"):
        raise InvalidRequest(f"{path} is not below {WORK_DIR}", code="bad_path", fix=f"write to {WORK_DIR}")
    return clean[len(WORK_DIR) :].strip("/")


class _Abandonable:
    """A request body that ends with an error once its call was given up, so that its thread ends too."""

    def __init__(self, body: Iterator[bytes]) -> None:
        self._body = body
        self._abandoned = False

    def abandon(self) -> None:
        self._abandoned = True

    def __iter__(self) -> Iterator[bytes]:
        for data in self._body:
            if self._abandoned:
                raise ConnectionAbortedError("the upload was given up")
            yield data


def _writer(path: Path, max_bytes: int) -> Callable[[Iterator[bytes]], int]:
    """Writes chunks until one more than ``max_bytes``: a file of terabytes of nothing must not be read to its end."""

    def write(chunks: Iterator[bytes]) -> int:
        size = 0
        with open(path, "wb") as out:
            for data in chunks:
                size += len(data)
                if size > max_bytes:
                    break
                out.write(data)
        return size

    return write
