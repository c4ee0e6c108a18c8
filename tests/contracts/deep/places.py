"""Where the escrow, its tests, the tools and the scratch folder of the deep checks lie."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROJECT = ROOT / "tests" / "contracts"
SHIPPED = ROOT / "ledger" / "contracts"
SOURCES = SHIPPED / "src"
LIBRARIES = ROOT / "tools" / "npm" / "node_modules"
SOLC = ROOT / "tools" / "solc"
FORGE = LIBRARIES / "@foundry-rs" / "forge-linux-amd64" / "bin" / "forge"
SCRATCH = ROOT / ".deep"
"""Everything that these checks write; ignored by git, and safe to delete."""


def tools_path() -> str:
    """A PATH on which forge and our solc come first: other tools call them by these names."""
    return os.pathsep.join((str(FORGE.parent), str(SOLC.parent), os.environ.get("PATH", "")))
