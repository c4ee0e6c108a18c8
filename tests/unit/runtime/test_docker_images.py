"""Which texts of strangers may become part of an engine's address, and how a pull is watched."""

from __future__ import annotations

import json

import pytest

from runtime.docker_images import _PullWatch, is_reference

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text",
    [
        "python",
        "python:3.12-slim",
        "cfab-job-base:local",
        DIGEST,
        f"python@{DIGEST}",
        f"docker.io/library/python:3.12@{DIGEST}",
        f"127.0.0.1:5000/a/b_c/d@{DIGEST}",
        "ghcr.io/org/name__x:v1.0",
    ],
)
def test_names(text: str) -> None:
    assert is_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "../containers/cfab-0123456789abcdef",
        "a/../../containers/x",
        "a//b",
        "/a",
        "a/",
        "a b",
        "a?x=1",
        "a#b",
        "a%2e%2e/b",
        "a\n",
        "PYTHON",
        "python@sha256:12",
        "python@md5:" + "0" * 64,
        "x:y:z",
        "ünicode",
        "a" * 600,
    ],
)
def test_no_names(text: str) -> None:
    assert not is_reference(text)


def progress(**event: object) -> bytes:
    return json.dumps(event).encode() + b"\n"


def test_layers_add_up_to_too_much() -> None:
    watch = _PullWatch(1)
    half = {"total": 600_000}
    watch.read(iter([progress(id="a", progressDetail=half), progress(id="a", progressDetail=half)]))
    assert not watch.failure
    watch.read(iter([progress(id="b", progressDetail=half)]))
    assert "larger than 1 MiB" in watch.failure


def test_the_first_failure_is_the_one_told() -> None:
    watch = _PullWatch(1)
    watch.read(iter([progress(error="denied\nby the registry"), progress(error="second")]))
    assert watch.failure == "denied by the registry"


def test_events_may_be_cut_anywhere_and_garbage_is_passed_over() -> None:
    watch = _PullWatch(1)
    whole = b"garbage\n" + progress(status="Pulling") + progress(error="late")
    watch.read(iter([whole[:5], whole[5:20], whole[20:]]))
    assert watch.failure == "late"
