"""The environment that slither and halmos live in: apart from the project's, as pinned in ``requirements.txt``."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.contracts.deep.places import PROJECT, ROOT, SCRATCH

_PINS = PROJECT / "requirements.txt"


def analyser(name: str) -> Path:
    """The program of that name (``"python"``, too) in the environment, which is made first if need be.

    Raises:
        SystemExit: uv is not there, or could not install what is pinned.
    """
    place = SCRATCH / "venv"
    wanted = hashlib.sha256(_PINS.read_bytes()).hexdigest()
    stamp = place / "pins.sha256"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        _uv("venv", "--python", sys.executable, str(place))
        _uv("pip", "install", "--python", str(place), "--require-hashes", "--requirements", str(_PINS))
        stamp.write_text(wanted)
    return place / "bin" / name


def _uv(*words: str) -> None:
    own = ROOT / ".uv" / "bin" / "uv"
    uv = str(own) if own.exists() else shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is not installed; run: make setup")
    done = subprocess.run([uv, "--quiet", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"uv {words[0]} failed: {done.stderr.strip()}")
