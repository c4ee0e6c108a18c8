"""The one devnet that ``--keep`` left up: a note of what runs and where, so that ``--stop`` can end exactly that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
from msgspec import Struct

from market.errors import InvalidRequest, Unavailable
from node.devnet.processes import Ticket, end, is_alive, processes_naming
from node.devnet.retire import retire_nodes

_GRACE_S = 8.0
_NOTE = "devnet.json"


class Kept(Struct, frozen=True, kw_only=True):
    """A devnet that outlives its demo. ``homes``: the node id that engine labels carry → the node's folder; ``rpc`` and
    ``token``: where test money is made."""

    folder: str
    tickets: dict[str, Ticket]
    homes: dict[str, str]
    rpc: str = ""
    token: str = ""


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
    """The devnet that is up, if one is. A note whose processes are all gone counts as none, unless somebody started one
    of its nodes again."""
    kept = _read_note()
    if kept is None:
        return None
    alive = any(is_alive(ticket) for ticket in kept.tickets.values())
    return kept if alive or processes_naming(kept.homes.values()) else None


def _read_note() -> Kept | None:
    try:
        return msgspec.json.decode(note_path().read_bytes(), type=Kept)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def stop_kept() -> Kept:
    """End the devnet that was left up, remove what it left in the engine, its folder and the note. One whose processes
    are gone already is tidied up all the same.

    Raises:
        InvalidRequest: none was left.
        Unavailable: the engine does not answer, and the processes have ended all the same; or a node of it runs that
            the demo did not start: it is left alone and named, and so is the folder it works in.
    """
    kept = _read_note()
    if kept is None or not (recall() or Path(kept.folder).exists()):
        raise InvalidRequest(
            "no market of 'cfab demo --keep' is up", code="not_found", fix="start one with 'cfab demo --keep'"
        )
    end(kept.tickets, grace_s=_GRACE_S)
    if strangers := processes_naming(kept.homes.values()):
        pids = " ".join(map(str, strangers))
        raise Unavailable(
            f"the market has ended, but a process that the demo did not start still works in its folder: {pids}",
            code="devnet_left",
            fix=f"kill {pids}, then 'cfab demo --stop' again",
            where=kept.folder,
        )
    retire_nodes({node_id: Path(home) for node_id, home in kept.homes.items()})
    shutil.rmtree(kept.folder, ignore_errors=True)
    note_path().unlink(missing_ok=True)
    return kept
