"""Where a node keeps its things: one folder, private to its user.

Light on purpose: every CLI command starts here. Holds names only; opening and checking files is their owner's task.
"""

from __future__ import annotations

import os
from pathlib import Path

from market.errors import InvalidRequest

CONFIG_FILE = "config.toml"
NODE_KEY_FILE = "node.key"
SESSION_KEY_FILE = "session.key"
WALLET_FILE = "wallet.json"
JOURNAL_FILE = "journal.sqlite"
HISTORY_FILE = "prices.history"
API_SOCKET = "api.sock"


def home_folder(override: str = "") -> Path:
    """The node's folder: ``override``, else ``$CFAB_HOME``, else ``~/.local/share/computefabric`` (or under
    ``$XDG_DATA_HOME``). It need not exist yet."""
    chosen = override or os.environ.get("CFAB_HOME", "")
    if chosen:
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"
    return base / "computefabric"


def ensure_home(home: Path) -> None:
    """Make the folder with mode 0700 if it is not there.

    Raises:
        InvalidRequest: it cannot be made, is no folder, or others may enter it.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        mode = home.stat().st_mode
    except OSError as error:
        raise InvalidRequest(
            f"the home folder cannot be used: {error.strerror}",
            code="bad_home",
            fix="choose another one with --home or CFAB_HOME",
            where=str(home),
        ) from None
    # Keys, the journal and the control socket live here: entering it is owning the node.
    if mode & 0o077:
        raise InvalidRequest(
            f"others may open the home folder (mode {mode & 0o777:04o})",
            code="home_open",
            fix=f"chmod 700 {home}",
            where=str(home),
        )
