"""Where receipts come from: the running node, or a file that was exported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from market.errors import FabricError, InvalidRequest
from node.cli.client import NodeClient
from node.cli.node_access import resolve_job

if TYPE_CHECKING:
    from node.receipt_lines import LeaseReceipts

MAX_FILE = 512 * 1024 * 1024


def read_bytes(path: Path) -> bytes:
    """A file's content, up to a bound.

    Raises:
        InvalidRequest: it cannot be read, or is larger than any file of ours.
    """
    try:
        with path.open("rb") as source:
            data = source.read(MAX_FILE + 1)
    except OSError as error:
        raise InvalidRequest(f"'{path}' cannot be read: {error.strerror}", code="unreadable") from None
    if len(data) > MAX_FILE:
        raise InvalidRequest(f"'{path}' is larger than any file of receipts", code="not_receipts")
    return data


def kept_by_node(client: NodeClient, job: str = "") -> list[LeaseReceipts]:
    """The leases of a job (or a lease's id), or all, as the node kept them.

    Raises:
        FabricError: the node does not answer.
    """
    from node.receipt_lines import from_json

    with client.stream("receipts", "evidence", job=job) as pieces:
        return [from_json(plain) for plain in _joined(pieces)]


def job_or_lease(client: NodeClient, reference: str) -> str:
    """The full id of the job, lease or receipt that is meant.

    Raises:
        InvalidRequest: none, or more than one.
    """
    known: list[dict[str, Any]] = client.get("receipts")
    for field in ("lease", "receipt"):
        found = [one for one in known if reference and str(one.get(field) or "").startswith(reference.lower())]
        if len(found) == 1:
            return str(found[0]["lease"])
    if any(one.get("job") == reference for one in known):
        return reference
    if reference == "-" and known:
        return str(known[0]["lease"])
    try:
        return resolve_job(client, reference)
    except FabricError as error:
        if error.code != "not_found":
            raise
        why = "there is no receipt yet" if reference == "-" else f"'{reference}' is no job, lease or receipt"
        raise InvalidRequest(why, code="not_found", fix="'cfab receipts' lists them") from None


def _joined(pieces: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    leases: list[dict[str, Any]] = []
    for piece in pieces:
        if "lease" in piece:
            leases.append({**piece["lease"], "answers": []})
        elif leases:
            leases[-1]["answers"] += piece.get("answers", [])
    return leases
