"""JSON of strangers: read as it is, and too deep a document refused before the parser sees it."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.plain_json import MAX_DEPTH, read_json


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(['"[', "\\", '\\"{', "]}"]),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_what_is_written_is_read(value: object):
    assert read_json(json.dumps(value).encode()) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'["]",', b'["\\"]",'])
def test_a_deep_document_is_refused_whatever_the_recursion_limit(opening: bytes):
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        with pytest.raises(ValueError, match="deeply"):
            read_json(opening * 10**5)
    finally:
        sys.setrecursionlimit(before)


def test_the_deepest_that_is_read():
    assert read_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(ValueError, match="deeply"):
        read_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


@pytest.mark.parametrize("raw", [b"", b"{", b"x", b"\xff", b'"', b'"\\'])
def test_what_is_not_json_is_refused(raw: bytes):
    with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
        read_json(raw)
