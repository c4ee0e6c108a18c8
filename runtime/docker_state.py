"""Read an engine's description of a container. Pure: dictionaries in, records out."""

from __future__ import annotations

import calendar
import time
from posixpath import normpath
from typing import Any

from runtime.container_plan import LABEL_FENCING, LABEL_LEASE, LABEL_STOP_AFTER, WORK_DIR
from runtime.ports import ContainerState

_AT_ONCE_MS = 1000
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOST_FOLDERS = 32
_WRITABLE = (WORK_DIR, "/tmp", "/dev", "/proc", "/sys")
_PHASES = {
    "created": "created",
    "running": "running",
    "paused": "running",
    "restarting": "running",
    "removing": "exited",
    "exited": "exited",
    "dead": "exited",
}


def container_state(
    inspected: dict[str, Any], *, stopped_by_deadline: bool = False, program_missing: bool = False
) -> ContainerState:
    """Sum up an inspected container.

    ``stopped_by_deadline`` is the watchdog's mark. It counts only if the job really ran that long: the mark is
    written just before the kill, and the job may have ended by itself in between. ``program_missing``: the image was
    searched for the job's program, in vain; the engine itself calls that an exit, because its init did start.
    """
    state, labels = inspected["State"], inspected["Config"]["Labels"]
    phase = _phase(inspected)
    started_at, finished_at = time_ms(state.get("StartedAt", "")), time_ms(state.get("FinishedAt", ""))
    ran_ms = finished_at - started_at if phase == "exited" else 0
    return ContainerState(
        lease_id=labels[LABEL_LEASE],
        fencing=int(labels[LABEL_FENCING]),
        phase=phase,
        started_at=started_at,
        finished_at=finished_at if phase == "exited" else 0,
        exit_code=int(state["ExitCode"]) & 0xFF if phase == "exited" else -1,
        oom_killed=bool(state.get("OOMKilled")),
        hit_time_limit=stopped_by_deadline and ran_ms >= int(labels[LABEL_STOP_AFTER]),
        error=str(state.get("Error") or "") or (_missing(inspected) if program_missing else ""),
    )


def program_places(inspected: dict[str, Any]) -> tuple[str, ...]:
    """Where in the image an exited container's program must have been for it to have run at all; none when it
    certainly ran, or when nobody can tell afterwards.

    An init says 127 or 126 of a program it could not run, and so does a shell of one of its own commands. What tells
    them apart is the image, which no job can change. ``/work`` and the directories in memory a job can: a program
    there may have deleted itself.
    """
    state, path = inspected["State"], str(inspected.get("Path") or "")
    if _phase(inspected) != "exited" or state["ExitCode"] not in (126, 127) or not path:
        return ()
    if time_ms(state["FinishedAt"]) - time_ms(state["StartedAt"]) >= _AT_ONCE_MS:
        return ()
    places = (path,) if "/" in path else tuple(f"{folder}/{path}" for folder in _search_path(inspected))
    lasting = all(place.startswith("/") and not normpath(place).startswith(_WRITABLE) for place in places)
    return places if lasting else ()


def _search_path(inspected: dict[str, Any]) -> list[str]:
    path = next((value[5:] for value in inspected["Config"].get("Env") or () if value.startswith("PATH=")), _PATH)
    return path.split(":")[:_MOST_FOLDERS]


def _missing(inspected: dict[str, Any]) -> str:
    return f"the program {str(inspected.get('Path'))[:200]!r} was not found in the image"


def time_ms(text: str) -> int:
    """An engine's time ("2025-01-02T03:04:05.123456789Z") in UTC milliseconds; 0 for its zero time and for none."""
    if len(text) < 19 or text.startswith("0001-"):
        return 0
    seconds = calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
    fraction = text[20:].rstrip("Z").partition("+")[0] if text[19:20] == "." else ""
    return seconds * 1000 + int((fraction + "000")[:3])


def has_ended(inspected: dict[str, Any]) -> bool:
    return _phase(inspected) == "exited"


def is_running(inspected: dict[str, Any]) -> bool:
    """Whether its processes exist, paused or not."""
    return _phase(inspected) == "running"


def is_paused(inspected: dict[str, Any]) -> bool:
    return bool(inspected["State"].get("Paused"))


def _phase(inspected: dict[str, Any]) -> str:
    state = inspected["State"]
    if state["Status"] == "created" and state.get("Error"):
        return "exited"  # a start that failed leaves it "created" for ever
    return _PHASES.get(state["Status"], "exited")
