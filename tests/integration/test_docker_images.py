"""Images by digest from a registry on this machine's loopback, and the ones that are refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import secrets
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trio

from runtime.docker_api import connect
from runtime.docker_images import DockerImages
from runtime.ports import ImageFailure

pytestmark = pytest.mark.docker

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry(ThreadingHTTPServer):
    """Serves one image by digest. ``swap`` makes it hand out another layer than the manifest names."""

    daemon_threads = True

    def __init__(self, env: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), RegistryHandler)
        content = secrets.token_bytes(32)  # a new image each time: nothing is answered from the engine's store
        self.layer_tar = tar_of("content", content)
        self.layer = gzip.compress(self.layer_tar)
        rootfs = {"type": "layers", "diff_ids": [digest(self.layer_tar)]}
        config = {"architecture": "amd64", "os": "linux", "config": {"Env": env, "Cmd": ["/"]}, "rootfs": rootfs}
        self.config = json.dumps(config).encode()
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": entry("application/vnd.docker.container.image.v1+json", self.config),
                "layers": [entry("application/vnd.docker.image.rootfs.diff.tar.gzip", self.layer)],
            }
        ).encode()
        self.blobs = {digest(self.config): self.config, digest(self.layer): self.layer}

    @property
    def reference(self) -> str:
        return f"127.0.0.1:{self.server_port}/cfab-test@{digest(self.manifest)}"

    def swap_layer(self) -> None:
        self.blobs[digest(self.layer)] = gzip.compress(tar_of("content", b"something else"))


class RegistryHandler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        if self.path == "/v2/":
            self.answer(b"{}", "application/json")
        elif "/manifests/" in self.path and name == digest(self.server.manifest):
            self.answer(self.server.manifest, MANIFEST_TYPE)
        elif name in self.server.blobs:
            self.answer(self.server.blobs[name], "application/octet-stream")
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", digest(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


def entry(kind: str, data: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(data), "digest": digest(data)}


def tar_of(name: str, data: bytes) -> bytes:
    with io.BytesIO() as out:
        with tarfile.open(fileobj=out, mode="w") as tar:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        return out.getvalue()


@pytest.fixture
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    with Registry(getattr(request, "param", [])) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
async def images(registry: Registry) -> AsyncIterator[DockerImages]:
    with trio.fail_after(60):
        async with connect(None) as api:
            images = DockerImages(api, Path("/"))
            yield images
            if image := await images.inspect(registry.reference):
                await api.call(api.client.remove_image, image["Id"], force=True)


async def test_an_image_named_by_digest_is_pulled_once(images: DockerImages, registry: Registry) -> None:
    image_id = await images.ensure(registry.reference)
    assert image_id == digest(registry.config)
    assert digest(registry.manifest) in await images.present()
    registry.blobs.clear()
    assert await images.ensure(registry.reference) == image_id
    assert await images.resolve(registry.reference) == image_id


async def test_a_layer_that_is_not_the_promised_one_is_refused(images: DockerImages, registry: Registry) -> None:
    registry.swap_layer()
    with pytest.raises(ImageFailure):
        await images.ensure(registry.reference)


@pytest.mark.parametrize("registry", [["LD_PRELOAD=/evil.so"]], indirect=True)
async def test_an_image_that_would_steer_the_host_is_refused(images: DockerImages, registry: Registry) -> None:
    with pytest.raises(ImageFailure) as refused:
        await images.ensure(registry.reference)
    assert "LD_PRELOAD" in refused.value.reason


async def test_an_image_that_is_too_large_is_refused(registry: Registry) -> None:
    with trio.fail_after(60):
        async with connect(None) as api:
            with pytest.raises(ImageFailure) as refused:
                await DockerImages(api, Path("/"), max_image_mib=0).ensure(registry.reference)
            assert "larger than" in refused.value.reason or "at most" in refused.value.reason


async def test_a_registry_that_does_not_answer_is_named_in_one_line(images: DockerImages, registry: Registry) -> None:
    nobody = registry.reference.replace(str(registry.server_port), "1")
    with pytest.raises(ImageFailure) as refused:
        await images.ensure(nobody)
    assert refused.value.reason
    assert "\n" not in refused.value.reason


async def test_a_tag_is_never_pulled(images: DockerImages) -> None:
    with pytest.raises(ImageFailure) as refused:
        await images.ensure("cfab-no-such-image:latest")
    assert "digest" in refused.value.reason


@pytest.mark.parametrize("name", ["", "UPPER CASE", "a" * 600, "x:y:z"])
async def test_what_is_no_name_is_said(images: DockerImages, name: str) -> None:
    with pytest.raises(ImageFailure):
        await images.ensure(name)
