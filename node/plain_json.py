"""JSON from files that strangers may have written. Some libraries raise the recursion limit so far that a parser runs
out of stack on a deep document, and the process ends: depth is looked at first, without recursion."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 32
_STRING = re.compile(rb'"(?:[^"\\]|\\.?)*(?:"|$)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read_json(raw: bytes) -> Any:
    """Parse a document.

    Raises:
        ValueError: it is not JSON, or nested more than :data:`MAX_DEPTH` levels deep.
    """
    depth = 0
    for bracket in _STRING.sub(b"", raw).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
    return json.loads(raw)
