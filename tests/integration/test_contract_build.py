"""The shipped contracts are what their sources compile to, byte for byte, with the pinned compiler.

Needs node and ``npm ci --prefix tools/npm``; without them these tests fail: nothing else would notice a stale artifact.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.artifact import load_artifact

pytestmark = pytest.mark.chain
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _compiler() -> None:
    assert shutil.which("node"), "node is not installed: the contracts cannot be rebuilt"
    assert (ROOT / "tools/npm/node_modules/solc").exists(), "run: npm ci --prefix tools/npm"


def test_a_rebuild_is_identical() -> None:
    build = [sys.executable, str(ROOT / "tools/build_contracts.py"), "--check"]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_tools_are_the_pinned_ones() -> None:
    wanted = json.loads((ROOT / "tools/npm/package.json").read_text())
    pinned = wanted["dependencies"] | wanted["optionalDependencies"]
    for name, version in pinned.items():
        installed = json.loads((ROOT / "tools/npm/node_modules" / name / "package.json").read_text())
        assert installed["version"] == version
    for contract in ("Escrow", "TestToken"):
        assert load_artifact(contract).compiler.startswith(pinned["solc"] + "+commit")
        assert load_artifact(contract).openzeppelin == pinned["@openzeppelin/contracts"]


def test_the_wrapper_speaks_like_the_native_compiler(tmp_path: Path) -> None:
    solc = str(ROOT / "tools/solc")
    version = subprocess.run([solc, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith("solc, the solidity compiler commandline interface\nVersion: 0.8.")
    (tmp_path / "Lib.sol").write_text("// SPDX-License-Identifier: MIT\npragma solidity ^0.8.28;\nlibrary Lib {}\n")
    source = '// SPDX-License-Identifier: MIT\npragma solidity ^0.8.28;\nimport "Lib.sol";\ncontract C {}\n'
    request = {
        "language": "Solidity",
        "sources": {"C.sol": {"content": source}},
        "settings": {"outputSelection": {"*": {"*": ["abi"]}}},
    }
    command = [solc, "--base-path", str(tmp_path), "--standard-json"]
    answer = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=True).stdout
    assert set(json.loads(answer)["contracts"]) == {"C.sol", "Lib.sol"}
