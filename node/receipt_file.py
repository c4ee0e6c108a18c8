"""Files of receipts: written in one way only, so that a file that was changed is not what its originals make. Pure.

A file holds the signed originals of every lease that it has lines of, and so can be checked by somebody who has nothing
else. What nobody signs (job names, our clock, what we saw on the chain) is under a digest: that shows an accident, not
a forger, who can write a whole file of his own; the signatures are what he cannot write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from market.errors import InvalidRequest, PeerFault
from market.signing import digest
from node.plain_json import read_json
from node.receipt_lines import LeaseReceipts, Period, from_json, lines_of, to_json, totals_of, whole

FORMAT = "computefabric/receipts/1"


def write_file(leases: Iterable[LeaseReceipts], period: Period) -> bytes:
    """The file: originals of the leases that have lines in the period, the lines, their sums, and a digest over all.

    Raises:
        PeerFault: an original cannot be read.
    """
    chosen = [(kept, lines) for kept in leases if (lines := lines_of(kept, period))]
    content: dict[str, Any] = {
        "format": FORMAT,
        "since": period.since,
        "until": period.until,
        "leases": [to_json(kept) for kept, _ in chosen],
        "lines": [line for _, lines in chosen for line in lines],
    }
    content["totals"] = totals_of(content["lines"])
    content["digest"] = _digest(content)
    return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"


class ReadFile(Struct, frozen=True, kw_only=True):
    """A file as it was read: its originals, and where it is not what would be written from them (empty: nowhere)."""

    leases: tuple[LeaseReceipts, ...]
    period: Period
    totals: dict[str, Any]
    altered: str = ""


def read_file(raw: bytes) -> ReadFile:
    """Read :func:`write_file`. Says nothing about signatures.

    Raises:
        InvalidRequest: ``not_receipts``: it is no such file.
    """
    try:
        content = read_json(raw)
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("leases"), list):
        raise InvalidRequest(
            "this is not a file of receipts, or it is damaged",
            code="not_receipts",
            fix="write one with 'cfab receipts export --format json'",
        )
    leases = tuple(from_json(one) for one in content["leases"])
    try:
        period = Period(since=whole(content.get("since")), until=whole(content.get("until")))
        again = write_file(leases, period)
    except (PeerFault, TypeError, ValueError) as error:
        reason = error.message if isinstance(error, PeerFault) else "its period is not two numbers"
        return ReadFile(leases=leases, period=Period(), totals=totals_of([]), altered=reason)
    expected = json.loads(again)
    altered = "" if again == raw else _first_difference(content, expected)
    return ReadFile(leases=leases, period=period, totals=expected["totals"], altered=altered)


def _first_difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    for name, value in expected.items():
        if found.get(name) == value or name in ("digest", "leases"):
            continue
        if name == "lines" and isinstance(found.get(name), list):
            return _different_line(found[name], value)
        return f"'{name}' is not what the receipts add up to"
    if set(found) != set(expected):
        return "it holds something that does not belong there"
    if found["digest"] != expected["digest"]:
        return "something that nobody signed was changed: a job, a time, what was settled, or the digest itself"
    return "it is not in the form in which it was written"


def _different_line(found: list[Any], expected: list[dict[str, Any]]) -> str:
    for number, (one, other) in enumerate(zip(found, expected, strict=False), 1):
        if one != other:
            named = [name for name in other if not isinstance(one, dict) or one.get(name) != other[name]]
            return f"line {number}: {', '.join(named) or 'what it holds'} is not what the receipt says"
    return f"{len(found)} lines where the receipts make {len(expected)}"


def _digest(content: dict[str, Any]) -> str:
    plain = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return digest(b"computefabric/receipt-file/1\0", plain).hex()
