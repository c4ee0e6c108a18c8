"""Which paths of a container may be touched from outside."""

from __future__ import annotations

import pytest

from market.errors import InvalidRequest
from runtime.docker_files import inside_work


@pytest.mark.parametrize(
    ("path", "below"), [("/work", ""), ("/work/", ""), ("/work/out", "out"), ("/work//out/./deep/", "out/deep")]
)
def test_below_work(path: str, below: str) -> None:
    assert inside_work(path) == below


@pytest.mark.parametrize(
    "path", ["/", "", "work", "/etc", "/workshop", "/work/../etc", "/work/out/..", "/work/\0", "//work"]
)
def test_elsewhere(path: str) -> None:
    with pytest.raises(InvalidRequest):
        inside_work(path)
