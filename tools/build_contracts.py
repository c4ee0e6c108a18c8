"""Compile the contracts in ``ledger/contracts/src`` into the artifacts that are shipped beside them, and the odd tokens
that tests meet the escrow with into theirs.

    python tools/build_contracts.py            write ledger/contracts/*.json and tests/fakes/tokens/*.json
    python tools/build_contracts.py --check    write nothing; fail when a rebuild differs from what is there

Needs node and ``npm ci --prefix tools/npm``. The output depends on nothing else: the compiler, the
OpenZeppelin sources and all settings are pinned, and neither metadata nor paths enter the bytecode.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ROOT / "tools" / "npm" / "node_modules"
SHIPPED = ROOT / "ledger" / "contracts"
ODD_TOKENS = ROOT / "tests" / "fakes" / "tokens"
SETTINGS: dict[str, Any] = {
    # Measured: 145 gas less per voucher than the older pipeline at 200 runs, for the same size of code.
    "viaIR": True,
    "optimizer": {"enabled": True, "runs": 20_000},
    # The oldest fork with transient storage: runs on every chain that the newer ones run on.
    "evmVersion": "cancun",
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
}


class Contract(NamedTuple):
    """One contract: where its artifact goes, and the source files of ours that it is made of, its own last."""

    artifact: Path
    sources: tuple[Path, ...]

    @property
    def name(self) -> str:
        return self.artifact.stem


def _shipped(*sources: str) -> Contract:
    files = tuple(SHIPPED / "src" / f"{name}.sol" for name in sources)
    return Contract(SHIPPED / f"{sources[-1]}.json", files)


def _odd_token(name: str) -> Contract:
    return Contract(ODD_TOKENS / f"{name}.json", (ODD_TOKENS / f"{name}.sol",))


CONTRACTS = (
    _shipped("Vault", "Vouchers", "ProviderStake", "Escrow"),
    _shipped("TestToken"),
    *map(_odd_token, ("FeeToken", "HookToken", "SilentToken", "TinyToken")),
)


def main(words: list[str]) -> int:
    """Write or check the artifacts; the process's exit status."""
    rebuilt = compile_contracts()
    if words == ["--check"]:
        stale = [path for path, text in rebuilt.items() if path.read_text() != text]
        for path in stale:
            sys.stderr.write(f"{path.name} is not what its source compiles to; run tools/build_contracts.py\n")
        return 1 if stale else 0
    if words:
        sys.stderr.write(__doc__ or "")
        return 2
    for path, text in rebuilt.items():
        path.write_text(text)
    return 0


def compile_contracts() -> dict[Path, str]:
    """The text of each artifact by its path.

    Raises:
        SystemExit: the compiler is missing, or it found an error or a warning; its words are the message.
    """
    request = {
        "language": "Solidity",
        "sources": {path.name: {"content": path.read_text()} for contract in CONTRACTS for path in contract.sources},
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
    return {contract.artifact: _artifact(contract, answer, compiler) for contract in CONTRACTS}


def _artifact(contract: Contract, answer: dict[str, Any], compiler: str) -> str:
    compiled = answer["contracts"][f"{contract.name}.sol"][contract.name]
    runtime = compiled["evm"]["deployedBytecode"]
    references = runtime.get("immutableReferences", {}).values()
    source = b"".join(path.read_bytes() for path in contract.sources)
    artifact = {
        "contract": contract.name,
        "compiler": compiler,
        "openzeppelin": json.loads((LIBRARIES / "@openzeppelin/contracts/package.json").read_text())["version"],
        "settings": SETTINGS,
        "sources": [path.name for path in contract.sources],
        "sourceSha256": hashlib.sha256(source).hexdigest(),
        # Immutables are zero in the compiler's output, and are zeroed in a chain's code before comparing.
        "runtimeSha256": hashlib.sha256(bytes.fromhex(runtime["object"])).hexdigest(),
        # By immutable: all places of one must hold the same, or a forger could let the code contradict itself.
        "immutables": sorted(sorted([place["start"], place["length"]] for place in places) for places in references),
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


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
