"""The faults put into the escrow on purpose (``mutants.toml``): read, applied to the source, and compiled."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ledger.artifact import load_artifact
from tests.contracts.deep.places import LIBRARIES, PROJECT, SCRATCH, SHIPPED, SOLC, SOURCES

LIST = PROJECT / "mutants.toml"
BATCH = 12
QUICK: Mapping[str, Any] = {"viaIR": False}
"""Settings that compile in half the time. A fault is one of the source, whatever way it is compiled."""


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change of one place in the source. ``equivalent`` is empty, or says why nobody could ever tell the mutant
    from the contract."""

    name: str
    file: str
    place: str
    find: str
    replace: str
    equivalent: str = ""

    def applied(self, text: str) -> str:
        """The source with the change made.

        Raises:
            ValueError: the source does not have that place, or has it more than once.
        """
        count = text.count(self.find)
        if count != 1:
            raise ValueError(f"'{self.name}': {self.file} has its place {count} times")
        return text.replace(self.find, self.replace)


def read_mutants() -> list[Mutant]:
    """All of the list."""
    return msgspec.convert(tomllib.loads(LIST.read_text())["mutant"], type=list[Mutant])


def compile_escrows(wanted: Sequence[Mutant | None], settings: Mapping[str, Any] | None = None) -> Iterator[bytes]:
    """The code that deploys the escrow, with each fault or, for None, with none. ``settings`` differ from the shipped
    ones. Compiles some at a time, when they are asked for.

    Raises:
        ValueError: a fault does not compile, or its place is not there; the message names it.
    """
    for start in range(0, len(wanted), BATCH):
        yield from _compile_batch(wanted[start : start + BATCH], settings or {})


def write_artifact(path: Path, code: bytes) -> None:
    """An artifact for ``code`` that differs from the shipped one in nothing else."""
    shipped = json.loads((SHIPPED / "Escrow.json").read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(shipped | {"bin": "0x" + code.hex()}))


def _compile_batch(wanted: Sequence[Mutant | None], settings: Mapping[str, Any]) -> list[bytes]:
    # Each has a folder of its own, in which the imports of its files stay; the libraries are read once for all.
    sources = {f"{number}/{name}": text for number, one in enumerate(wanted) for name, text in _sources(one).items()}
    request = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources.items()},
        "settings": load_artifact("Escrow").settings
        | settings
        | {"outputSelection": {"*": {"Escrow": ["evm.bytecode.object"]}}},
    }
    answer = _solc(json.dumps(request))
    for fault in answer.get("errors", ()):
        if fault["severity"] == "error":
            number, _, _ = fault.get("sourceLocation", {}).get("file", "?").partition("/")
            culprit = wanted[int(number)] if number.isdigit() else None
            raise ValueError(f"'{culprit.name if culprit else 'unchanged'}': {fault['formattedMessage']}")
    compiled = (answer["contracts"][f"{number}/Escrow.sol"]["Escrow"] for number in range(len(wanted)))
    return [bytes.fromhex(one["evm"]["bytecode"]["object"]) for one in compiled]


def _solc(request: str) -> Any:
    # What was compiled once is kept: a fault is looked at many times before it is dead.
    kept = SCRATCH / "compiled" / f"{hashlib.sha256(request.encode()).hexdigest()}.json"
    if not kept.exists():
        command = [str(SOLC), "--include-path", str(LIBRARIES), "--standard-json"]
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=900, check=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(done.stdout)
    return json.loads(kept.read_text())


def _sources(mutant: Mutant | None) -> dict[str, str]:
    sources = {name: (SOURCES / name).read_text() for name in load_artifact("Escrow").sources}
    if mutant is not None:
        sources[mutant.file] = mutant.applied(sources[mutant.file])
    return sources
