"""``cfab receipts export``: which receipts, of which time, in which form."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from typing import Any

from market.errors import InvalidRequest
from node.cli.client import NodeClient
from node.cli.receipt_source import job_or_lease, kept_by_node
from node.receipt_export import to_cloudevents, to_csv
from node.receipt_file import write_file
from node.receipt_lines import Period, lines_of, totals_of


def exported(
    client: NodeClient, jobs: Sequence[str], form: str, *, since: str, until: str
) -> tuple[bytes, dict[str, Any]]:
    """The file's content, and the sums of what is in it.

    Raises:
        FabricError: no such job, a date that is none, or the node does not answer.
    """
    period = _period(since, until)
    if jobs:
        wanted = dict.fromkeys(job_or_lease(client, job) for job in jobs)
        leases = [kept for job in wanted for kept in kept_by_node(client, job)]
    else:
        leases = kept_by_node(client)
    lines = [line for kept in leases for line in lines_of(kept, period)]
    if form == "csv":
        return to_csv(lines), totals_of(lines)
    if form == "cloudevents":
        return to_cloudevents(lines), totals_of(lines)
    return write_file(leases, period), totals_of(lines)


def write_out(data: bytes) -> None:
    """Write to stdout as it is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _period(since: str, until: str) -> Period:
    whole = Period()
    period = Period(
        since=_moment(since, "--since") if since else whole.since,
        until=_moment(until, "--until") if until else whole.until,
    )
    if period.since >= period.until:
        raise InvalidRequest("--since is not before --until: nothing lies between", code="bad_date")
    return period


def _moment(text: str, flag: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        ms = round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        ms = -1
    if not 0 <= ms < Period().until:
        fix = "write it as 2026-11-01, or 2026-11-01T08:00:00Z; without a zone it is UTC"
        raise InvalidRequest(f"'{text[:80]}' is not a date", code="bad_date", fix=fix, where=flag)
    return ms
