"""Make sure an image is present, is the very one that was named, and may be run.

An image of one megabyte can unpack to a disk full of zeros, and a tag can move between two looks: so pulls are by
digest only, are watched for the host's free space, and everything is run by the id the engine computed.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import docker.errors
import docker.utils
import trio

from market.errors import Unavailable
from runtime.container_plan import MIB
from runtime.docker_api import DockerApi, one_line
from runtime.image_policy import refused_in_image
from runtime.ports import ImageFailure
from runtime.work_volumes import DISK_FLOOR_MIB

MAX_IMAGE_MIB = 64 * 1024
PULL_TIMEOUT_S = 3600.0
LOAD_TIMEOUT_S = 300.0
_LOOK_AT_DISK_S = 0.5
MAX_REFERENCE = 512
_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:sha256:[0-9a-f]{{64}}|(?:{_PART}(?::[0-9]+)?/)?{_PART}(?:/{_PART})*(?::[\w.-]{{1,128}})?(?:@sha256:[0-9a-f]{{64}})?)",
    re.ASCII,
)
"""An id, or [registry[:port]/]name[/name…][:tag][@digest]."""


class DockerImages:
    """Images of the engine behind ``api``, whose files lie below ``root_dir``."""

    def __init__(self, api: DockerApi, root_dir: Path, *, max_image_mib: int = MAX_IMAGE_MIB) -> None:
        self._api = api
        self._root_dir = root_dir
        self._max_image_mib = max_image_mib

    async def present(self) -> dict[str, str]:
        """Id and digest of each image here → a name for people."""
        names: dict[str, str] = {}
        for image in await self._api.call(self._api.client.images):
            tags = [tag for tag in image.get("RepoTags") or [] if tag != "<none>:<none>"]
            digests = [d for d in image.get("RepoDigests") or [] if not d.endswith("<none>")]
            name = (tags or digests or [""])[0]
            names[image["Id"]] = name
            names.update({digest.partition("@")[2]: name for digest in digests})
        return names

    async def ensure(self, reference: str) -> str:
        """Pull if needed, check, and return the immutable id to run.

        Raises:
            ImageFailure: with the reason for the job's owner.
            Unavailable: the engine does not answer.
        """
        image = await self.inspect(reference)
        if image is None:
            if "@sha256:" not in reference:
                raise ImageFailure(
                    f"no image {reference!r} on this machine; to have it pulled, name it by digest (name@sha256:…)"
                )
            await self._pull(reference)
            image = await self.inspect(reference)
            if image is None:
                raise ImageFailure(f"{reference!r} was pulled but is not there under that digest")
        return self._judge(image)

    async def resolve(self, reference: str) -> str:
        """As :meth:`ensure`, but never pulls."""
        image = await self.inspect(reference)
        if image is None:
            raise ImageFailure(f"image {reference!r} is no longer on this machine")
        return self._judge(image)

    def _judge(self, image: dict[str, Any]) -> str:
        if image["Size"] > self._max_image_mib * MIB:
            raise ImageFailure(f"the image is {image['Size'] // MIB} MiB; at most {self._max_image_mib} are taken")
        if reason := refused_in_image((image.get("Config") or {}).get("Env") or []):
            raise ImageFailure(reason)
        return str(image["Id"])

    async def inspect(self, reference: str) -> dict[str, Any] | None:
        """What the engine knows of an image; None when it is not here.

        Raises:
            ImageFailure: this cannot be an image's name.
        """
        if not is_reference(reference):
            raise ImageFailure(f"{one_line(reference)[:80]!r} is no image's name")
        try:
            return await self._api.call(self._api.client.inspect_image, reference)
        except docker.errors.NotFound:
            return None
        except docker.errors.APIError as error:
            raise ImageFailure(f"{reference!r} is no image's name: {one_line(error.explanation)}") from error

    async def load_rootfs(self, rootfs: IO[bytes], tag: str, changes: list[str]) -> None:
        """Make an image under ``tag`` out of a root file system's tar, with ``ENV``, ``CMD`` and the like applied."""
        repository, _, version = tag.partition(":")
        # An iterator, not the file: given a file the client sends a length and chunks at once, and the engine gives up.
        body = iter(lambda: rootfs.read(1 << 20), b"")
        await self._api.call(
            self._api.client.import_image_from_stream,
            body,
            repository=repository,
            tag=version or "latest",
            changes=changes,
            timeout=LOAD_TIMEOUT_S,
        )

    async def forget_untagged(self, image_id: str) -> None:
        """Delete an image that has lost its name, unless a container or another image still needs it."""
        with suppress(docker.errors.APIError):
            image = await self.inspect(image_id)
            if image is not None and not image.get("RepoTags"):
                await self._api.call(self._api.client.remove_image, image_id)

    async def _pull(self, reference: str) -> None:
        watch = _PullWatch(self._max_image_mib)
        name, _, digest = reference.partition("@")
        # A tag beside a digest says nothing and confuses the engine's parser.
        repository, _ = docker.utils.parse_repository_tag(name)
        with trio.move_on_after(PULL_TIMEOUT_S) as patience:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._guard_disk, watch, nursery.cancel_scope)
                await self._stream_pull(repository, digest, watch)
                nursery.cancel_scope.cancel()
        if patience.cancelled_caught:
            watch.failed(f"the pull took longer than {PULL_TIMEOUT_S:.0f} s")
        if watch.failure:
            raise ImageFailure(watch.failure)

    async def _stream_pull(self, repository: str, digest: str, watch: _PullWatch) -> None:
        try:
            # No credentials: a stranger's reference must not read private images in our user's name.
            await self._api.consume(
                "/images/create", {"fromImage": repository, "tag": digest}, watch.read, method="POST"
            )
        except docker.errors.APIError as error:
            watch.failed(one_line(error.explanation))
        except Unavailable as error:
            watch.failed(error.message)

    async def _guard_disk(self, watch: _PullWatch, pull: trio.CancelScope) -> None:
        """Break the connection, on which the engine gives the pull up, when the host's disk runs low."""
        while True:
            free_mib = (await trio.to_thread.run_sync(shutil.disk_usage, self._root_dir)).free // MIB
            if free_mib < DISK_FLOOR_MIB:
                watch.failed(f"the pull was stopped: less than {DISK_FLOOR_MIB} MiB of disk left here")
                pull.cancel()
            await trio.sleep(_LOOK_AT_DISK_S)


def is_reference(text: str) -> bool:
    """Whether a stranger's text can be the name, digest or id of an image.

    The client puts it into a path of the engine's API as it is: "../containers/x" would ask about a container.
    """
    return len(text) <= MAX_REFERENCE and bool(_REFERENCE.fullmatch(text))


class _PullWatch:
    """Follows a pull's progress in its thread; the first failure counts and ends it."""

    def __init__(self, max_image_mib: int) -> None:
        self._max_bytes = max_image_mib * MIB
        self._layers: dict[str, int] = {}
        self._lock = threading.Lock()
        self.failure = ""

    def failed(self, reason: str) -> None:
        with self._lock:
            self.failure = self.failure or reason

    def read(self, chunks: Iterator[bytes]) -> None:
        pending = b""
        for chunk in chunks:
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                self._see(line)
            if self.failure or len(pending) > MIB:
                return  # leaving closes the connection, which makes the engine give up the pull

    def _see(self, line: bytes) -> None:
        try:
            event = json.loads(line or b"{}")
        except ValueError:
            return
        if "error" in event:
            self.failed(one_line(event["error"]))
        total = (event.get("progressDetail") or {}).get("total")
        if isinstance(total, int):
            key = str(event.get("id"))
            self._layers[key] = max(total, self._layers.get(key, 0))
            if sum(self._layers.values()) > self._max_bytes:
                self.failed(f"the image is larger than {self._max_bytes // MIB} MiB")
