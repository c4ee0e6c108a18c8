"""A disk that is really full: vouchers in hand still get in, nothing new is granted, nothing acknowledged is lost."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIZE = "3m"


@pytest.mark.processes
def test_a_full_disk_stops_grants_and_not_vouchers(tmp_path: Path) -> None:
    run = f"{shlex.quote(sys.executable)} -m tests.integration.full_disk {shlex.quote(str(tmp_path))}"
    mounted = f"mount -t tmpfs -o size={SIZE} full {shlex.quote(str(tmp_path))}"
    # In a mount namespace of its own: nothing of it is left on this machine when it ends, however it ends.
    unshare = ["unshare", "--map-root-user", "--mount", "bash", "-c"]
    if subprocess.run([*unshare, mounted], capture_output=True, check=False).returncode:
        pytest.fail("a file system of its own must be mounted here: run as root, or allow user namespaces")
    done = subprocess.run(
        [*unshare, f"{mounted} && exec {run}"], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["before"] == told["voucher in hand"] == "ok"
    assert told["grant"] == ["disk_full"] * 3
    assert told["until all room is gone"] == "disk_full"
    assert told["taken"] > 13 + 100, "the room kept back is worth many vouchers"
    assert told["kept"] == told["taken"]
    assert told["grant after a restart"] == "disk_full"
    assert (told["grant with room"], told["voucher with room"], told["lanes"]) == ("ok", "ok", 2)


OPEN = """
import sys, trio
from ledger.sqlite_journal import open_journal
from market.errors import FabricError
async def main():
    try:
        async with open_journal(sys.argv[1], ballast_bytes=0): print("opened")
    except FabricError as error:
        print(type(error).__name__, error.code, bool(error.fix))
trio.run(main)
"""


@pytest.mark.processes
def test_a_file_system_that_is_mounted_read_only_is_told(tmp_path: Path) -> None:
    where = shlex.quote(str(tmp_path))
    opened = f"{shlex.quote(sys.executable)} -c {shlex.quote(OPEN)} {where}/journal.db"
    mounted = f"mount -t tmpfs -o size={SIZE} small {where}"
    unshare = ["unshare", "--map-root-user", "--mount", "bash", "-c"]
    if subprocess.run([*unshare, mounted], capture_output=True, check=False).returncode:
        pytest.fail("a file system of its own must be mounted here: run as root, or allow user namespaces")
    script = f"{mounted} && {opened} && mount -o remount,ro {where} && {opened}"
    done = subprocess.run([*unshare, script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["opened", "InvalidRequest journal_unreachable True"], done.stderr
