"""The checks of ``cfab doctor`` on this machine. Standard library only, so that a broken install can be looked at.

A check never changes anything, and never hangs: every call out has a time limit.
"""

from __future__ import annotations

import ctypes
import errno
import http.client
import json
import os
import re
import shutil
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from market.errors import FabricError
from node.cli.check_results import failed, passed, warned
from node.cli.market_checks import check_gpu, check_money, check_place, check_reach
from node.home import JOURNAL_FILE, NODE_KEY_FILE, SESSION_KEY_FILE, WALLET_FILE

if TYPE_CHECKING:
    from node.config import NodeConfig
    from node.control import Check

_TIMEOUT_S = 3.0
_LOW_DISK = 5 * 10**9
_CLOCK_UNSYNCHRONISED = 5
_DOCKER_SOCKET = "/var/run/docker.sock"
_LISTEN = re.compile(r"/ip([46])/([0-9A-Fa-f.:]+)/tcp/(\d+)")


def run_checks(home: Path, *, node_checks: list[Check] | None, flags: Mapping[str, Any] | None = None) -> list[Check]:
    """All checks, most basic first.

    Args:
        home: the node's folder.
        flags: settings that ``cfab up`` would be given, dotted key → value.
        node_checks: what the running node says of itself, None when none runs. It knows better where both look.
    """
    checks = [check_home(home), *check_keys(home), check_disk(home), *check_journal(home), check_clock()]
    try:
        from node.config import load_config

        config = load_config(home, flags=flags)
        checks.append(passed("config", str(home / "config.toml") if config.sources else "defaults"))
    except FabricError as error:
        return [*checks, failed("config", f"{error.where}: {error.message}", error.fix), *(node_checks or [])]
    if node_checks is None:
        checks.append(passed("node", "not running; 'cfab up' starts it"))
        checks += check_ports(config)
        checks += check_reach(config)
    else:
        checks.append(passed("node", f"answers on {config.api_socket}"))
    checks.append(check_engine(config))
    checks += check_gpu(config)
    checks += check_place(config)
    checks.append(check_wallet(home, config))
    checks += check_money(home, config)
    known = {check["name"] for check in node_checks or []}
    return [check for check in checks if check["name"] not in known] + (node_checks or [])


def check_home(home: Path) -> Check:
    if not home.exists():
        return passed("home", f"{home} is not there yet; it is made when needed")
    mode = home.stat().st_mode
    if mode & 0o077:
        return failed("home", f"others may open {home} (mode {stat.S_IMODE(mode):04o})", f"chmod 700 {home}")
    return passed("home", str(home))


def check_keys(home: Path) -> list[Check]:
    open_files = []
    for name in (NODE_KEY_FILE, SESSION_KEY_FILE, WALLET_FILE):
        path = home / name
        if path.exists() and path.stat().st_mode & 0o077:
            open_files.append(str(path))
    if open_files:
        return [failed("keys", f"others may read {', '.join(open_files)}", f"chmod 600 {' '.join(open_files)}")]
    return [passed("keys", "private to you")] if (home / NODE_KEY_FILE).exists() else []


def check_disk(home: Path) -> Check:
    there = home
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    detail = f"{free / 10**9:.0f} GB free"
    return passed("disk", detail) if free >= _LOW_DISK else warned("disk", detail, f"free space below {there}")


def check_journal(home: Path) -> list[Check]:
    """Follow every entry and value of the journal, also while a node writes to it. Nothing for a home without one."""
    path = home / JOURNAL_FILE
    if not path.exists():
        return []
    try:
        from ledger.sqlite_check import examine
        from ledger.sqlite_file import ballast_path

        position = examine(path).reached.position
    except FabricError as error:
        return [failed("journal", error.message, error.fix)]
    except (ImportError, OSError) as error:
        return [warned("journal", f"{path} was not looked at: {error}", "")]
    if ballast_path(path).exists():
        return [passed("journal", f"whole, {position} entries; room is kept back for vouchers")]
    told = f"whole, {position} entries; no room is kept back for vouchers, so nothing new is begun"
    return [warned("journal", told, f"free space below {home}")]


def check_clock() -> Check:
    """Offers and awards carry times: a clock that is off by a minute makes every record of ours look expired."""
    adjtimex = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)
    if adjtimex is None:
        return warned("clock", "this system does not say whether its clock is kept right", "keep it right with NTP")
    state = adjtimex(ctypes.create_string_buffer(512))  # an all-zero request only asks
    if state == _CLOCK_UNSYNCHRONISED:
        return warned("clock", "is not synchronised", "sudo timedatectl set-ntp true")
    return passed("clock", "synchronised") if state >= 0 else warned("clock", "cannot be asked", "")


def check_ports(config: NodeConfig) -> list[Check]:
    return [found for address in config.listen if (found := _check_port(address))]


def _check_port(address: str) -> Check | None:
    parts = _LISTEN.fullmatch(address)
    if parts is None:
        return None
    family = socket.AF_INET if parts[1] == "4" else socket.AF_INET6
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts[2], int(parts[3])))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return failed("port", f"{address} is in use", "stop what uses it, or set another listen under [node]")
            return failed("port", f"{address}: {error.strerror}", "set another listen under [node]")
    return passed("port", f"{address} is free")


def check_engine(config: NodeConfig) -> Check:
    """A Docker client on the PATH proves nothing: the engine itself is asked. Only a provider cannot do without."""
    where = config.provider.engine or os.environ.get("DOCKER_HOST", "") or f"unix://{_DOCKER_SOCKET}"
    bad = failed if config.provide else warned
    path = where.removeprefix("unix://")
    if not path.startswith("/"):
        return warned("engine", f"{where} is not a local socket and was not asked", "")
    try:
        version = json.loads(_get(path, "/version"))
        return passed("engine", f"Docker Engine {version['Version']} on {path}")
    except FileNotFoundError:
        return bad("engine", f"no Docker Engine at {path}", "sudo apt-get install -y docker.io")
    except PermissionError:
        return bad("engine", f"you may not use {path}", f"sudo usermod -aG docker {os.environ.get('USER', '$USER')}")
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return bad("engine", f"nothing answers on {path}", "sudo service docker start")


def check_wallet(home: Path, config: NodeConfig) -> Check:
    if (home / WALLET_FILE).exists():
        return passed("wallet", str(home / WALLET_FILE))
    if config.chain is None:
        return passed("wallet", "none, and none needed: there is no [chain]")
    return failed("wallet", "none yet", "cfab wallet create")


def _get(socket_path: str, path: str) -> bytes:
    connection = http.client.HTTPConnection("engine", timeout=_TIMEOUT_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(_TIMEOUT_S)
        connection.sock.connect(socket_path)
        connection.request("GET", path)
        return connection.getresponse().read(1 << 20)
    finally:
        connection.close()
