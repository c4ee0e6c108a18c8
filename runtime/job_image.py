"""Make the base image for jobs: no registry, no root, one second.

    python -m runtime.job_image --tag cfab-job-base:local

What is in it, and why it sets no ``LD_*`` variable, is in ``job_rootfs.py``.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import click
import trio

from market.errors import FabricError, Unavailable
from runtime.docker_api import connect
from runtime.docker_images import DockerImages
from runtime.job_rootfs import PREFIX, write_rootfs

DEFAULT_TAG = "cfab-job-base:local"
LABEL_INTERPRETER = "cfab.interpreter"
LAYOUT = 1
"""Raise it when other things go into the image, so that those made before are replaced."""
_CHANGES = (f"ENV PATH={PREFIX}/bin:/usr/bin:/bin", "ENV LANG=C.UTF-8", "WORKDIR /work", 'CMD ["python3"]')


async def ensure_job_image(tag: str = DEFAULT_TAG, *, url: str | None = None) -> str:
    """Make sure the engine has the image of this very interpreter under ``tag``; returns its id.

    Raises:
        Unavailable: no engine, or this interpreter cannot be made into an image.
        InvalidRequest: we may not use the engine.
    """
    async with connect(url) as api:
        images = DockerImages(api, Path("/"))
        before = await images.inspect(tag)
        if before and (before["Config"].get("Labels") or {}).get(LABEL_INTERPRETER) == _interpreter():
            return str(before["Id"])
        with tempfile.TemporaryFile() as rootfs:
            await trio.to_thread.run_sync(write_rootfs, rootfs)
            rootfs.seek(0)
            await images.load_rootfs(rootfs, tag, [*_CHANGES, f"LABEL {LABEL_INTERPRETER}={_interpreter()}"])
        after = await images.inspect(tag)
        if after is None:
            raise Unavailable("the engine lost the job image it was given", code="no_job_image")
        if before and before["Id"] != after["Id"]:
            await images.forget_untagged(before["Id"])
        return str(after["Id"])


def _interpreter() -> str:
    """Changes when the interpreter, or what we take of it, does."""
    found = os.stat(os.path.realpath(sys.executable))
    what = f"{LAYOUT}:{sys.version}:{found.st_size}:{int(found.st_mtime)}"
    return hashlib.blake2b(what.encode(), digest_size=8).hexdigest()


@click.command()
@click.option("--tag", default=DEFAULT_TAG, show_default=True, help="Name of the image in the engine.")
def main(tag: str) -> None:
    """Build the base image for jobs from this Python interpreter, unless it is there."""
    try:
        click.echo(f"{tag} {trio.run(ensure_job_image, tag)}")
    except FabricError as error:
        raise click.ClickException(f"{error.message}. {error.fix}") from error


if __name__ == "__main__":
    main()
