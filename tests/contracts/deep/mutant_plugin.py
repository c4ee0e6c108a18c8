"""A pytest plugin that puts the artifact named in ESCROW_JSON in the place of the shipped escrow.

It is loaded before any test module, so that whoever imports ``load_artifact`` gets this one.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import msgspec
from hypothesis import Phase, settings

from ledger import artifact

_shipped = artifact.load_artifact


@cache
def load_mutant(contract: str) -> artifact.Artifact:
    if contract != "Escrow":
        return _shipped(contract)
    return msgspec.json.decode(Path(os.environ["ESCROW_JSON"]).read_bytes(), type=artifact.Artifact)


artifact.load_artifact = load_mutant  # type: ignore[assignment]
# A fault that is found is found: its smallest example is of no interest here.
settings.register_profile("mutant", phases=[Phase.explicit, Phase.generate], database=None, derandomize=True)
settings.load_profile("mutant")
