"""The one devnet that ``--keep`` left up: a note of what runs and where, so that ``--stop`` can end exactly that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
from msgspec import Struct

from market.errors import InvalidRequest
from node.devnet.processes import Ticket, end, is_alive
from node.devnet.retire import retire_nodes

_GRACE_S = 8.0
_NOTE = "devnet.json"


class Kept(Struct, frozen=True, kw_only=True):
    """A devnet that outlives its demo. ``homes``: the node id that engine labels carry → the node's folder."""

    folder: str
    tickets: dict[str, Ticket]
    homes: dict[str, str]


def note_path() -> Path:
    """Where the note lies: ``$XDG_STATE_HOME/computefabric``, by default under ``~/.local/state``."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "computefabric" / _NOTE


def remember(kept: Kept) -> None:
    """Write the note; it replaces an older one."""
    path = note_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(kept))


def recall() -> Kept | None:
    """The devnet that is up, if one is. A note whose processes are all gone counts as none."""
    try:
        kept = msgspec.json.decode(note_path().read_bytes(), type=Kept)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return kept if any(is_alive(ticket) for ticket in kept.tickets.values()) else None


def stop_kept() -> Kept:
    """End the devnet that was left up, remove what it left in the engine, its folder and the note.

    Raises:
        InvalidRequest: none is up.
        Unavailable: the engine does not answer; the processes have ended all the same.
    """
    kept = recall()
    if kept is None:
        raise InvalidRequest("no devnet is up", code="not_found", fix="start one with 'cfab demo --keep'")
    end(kept.tickets, grace_s=_GRACE_S)
    retire_nodes({node_id: Path(home) for node_id, home in kept.homes.items()})
    shutil.rmtree(kept.folder, ignore_errors=True)
    note_path().unlink(missing_ok=True)
    return kept
