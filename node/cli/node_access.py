"""Find the running node, and the job a user means."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from market.errors import InvalidRequest
from node.cli.client import NodeClient
from node.cli.options import Session, current_session
from node.home import API_SOCKET, CONFIG_FILE

_FULL_ID = re.compile(r"[0-9a-f]{32}")


def connect(session: Session | None = None) -> NodeClient:
    """A client for the node of this home. Nothing is sent yet."""
    return NodeClient(socket_of((session or current_session()).home))


def socket_of(home: Path) -> Path:
    """Where the node of ``home`` listens: by environment, config or default. A broken config is told by ``cfab up``."""
    named = os.environ.get("CFAB_NODE_API_SOCKET", "")
    if not named:
        try:
            table = tomllib.loads((home / CONFIG_FILE).read_text(encoding="utf-8")).get("node", {})
            named = str(table.get("api_socket", "")) if isinstance(table, dict) else ""
        except (OSError, ValueError):
            named = ""
    return home / (named or API_SOCKET)


def resolve_job(client: NodeClient, reference: str) -> str:
    """The full id of the job meant by an id, the start of one, a name, or ``-`` for the newest.

    Raises:
        InvalidRequest: no job, or more than one, is meant.
    """
    if _FULL_ID.fullmatch(reference):
        return reference
    jobs: list[dict[str, Any]] = client.get("jobs")
    if reference == "-":
        found = jobs[:1]
    else:
        # A name used twice means the newest job of that name; the start of an id must mean one job.
        named = [job for job in jobs if job.get("name") == reference][:1]
        found = named or [job for job in jobs if str(job["job"]).startswith(reference.lower())]
    if len(found) == 1:
        return str(found[0]["job"])
    if found:
        raise InvalidRequest(f"'{reference}' starts {len(found)} job ids", code="ambiguous", fix="give more of the id")
    what = "there are no jobs yet" if reference == "-" else f"there is no job '{reference}'"
    raise InvalidRequest(what, code="not_found", fix="'cfab ps' lists them")
