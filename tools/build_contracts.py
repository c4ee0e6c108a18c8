"""Compile the contracts in ``ledger/contracts/src`` into the artifacts that are shipped beside them.

    python tools/build_contracts.py            write ledger/contracts/*.json
    python tools/build_contracts.py --check    write nothing; fail when a rebuild differs from what is shipped

Needs node and ``npm ci --prefix tools/npm``. The output depends on nothing else: the compiler, the
OpenZeppelin sources and all settings are pinned, and neither metadata nor paths enter the bytecode.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "ledger" / "contracts" / "src"
ARTIFACTS = SOURCES.parent
LIBRARIES = ROOT / "tools" / "npm" / "node_modules"
CONTRACTS = ("Escrow", "TestToken")
SETTINGS: dict[str, Any] = {
    # Measured: 145 gas less per voucher than the older pipeline at 200 runs, for the same size of code.
    "viaIR": True,
    "optimizer": {"enabled": True, "runs": 20_000},
    # The oldest fork with transient storage: runs on every chain that the newer ones run on.
    "evmVersion": "cancun",
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
}


def main(words: list[str]) -> int:
    """Write or check the artifacts; the process's exit status."""
    rebuilt = compile_contracts()
    if words == ["--check"]:
        stale = [name for name, text in rebuilt.items() if _path(name).read_text() != text]
        for name in stale:
            sys.stderr.write(f"{name}.json is not what its source compiles to; run tools/build_contracts.py\n")
        return 1 if stale else 0
    if words:
        sys.stderr.write(__doc__ or "")
        return 2
    for name, text in rebuilt.items():
        _path(name).write_text(text)
    return 0


def compile_contracts() -> dict[str, str]:
    """The text of each artifact by contract name.

    Raises:
        SystemExit: the compiler is missing, or it found an error or a warning; its words are the message.
    """
    request = {
        "language": "Solidity",
        "sources": {f"{name}.sol": {"content": (SOURCES / f"{name}.sol").read_text()} for name in CONTRACTS},
        "settings": SETTINGS | {"outputSelection": {"*": {"*": ["abi", "evm.bytecode", "evm.deployedBytecode"]}}},
    }
    answer = json.loads(_solc("--include-path", str(LIBRARIES), "--standard-json", feed=json.dumps(request)))
    # Warnings in our own sources count as errors; those in the pinned library are its authors' to judge.
    faults = [
        fault["formattedMessage"]
        for fault in answer.get("errors", ())
        if fault["severity"] == "error" or not fault["sourceLocation"]["file"].startswith("@")
    ]
    if faults:
        raise SystemExit("\n".join(faults))
    compiler = _solc("--version").split()[-1]
    return {name: _artifact(name, answer, compiler) for name in CONTRACTS}


def _artifact(name: str, answer: dict[str, Any], compiler: str) -> str:
    compiled = answer["contracts"][f"{name}.sol"][name]
    runtime = compiled["evm"]["deployedBytecode"]
    references = runtime.get("immutableReferences", {}).values()
    artifact = {
        "contract": name,
        "compiler": compiler,
        "openzeppelin": json.loads((LIBRARIES / "@openzeppelin/contracts/package.json").read_text())["version"],
        "settings": SETTINGS,
        "sourceSha256": hashlib.sha256((SOURCES / f"{name}.sol").read_bytes()).hexdigest(),
        # Immutables are zero in the compiler's output, and are zeroed in a chain's code before comparing.
        "runtimeSha256": hashlib.sha256(bytes.fromhex(runtime["object"])).hexdigest(),
        "immutables": sorted([place["start"], place["length"]] for places in references for place in places),
        "abi": compiled["abi"],
        "bin": "0x" + compiled["evm"]["bytecode"]["object"],
    }
    return json.dumps(artifact, separators=(",", ":")) + "\n"


def _solc(*arguments: str, feed: str = "") -> str:
    command = [str(ROOT / "tools" / "solc"), *arguments]
    done = subprocess.run(command, input=feed, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip())
    return done.stdout


def _path(name: str) -> Path:
    return ARTIFACTS / f"{name}.json"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
