"""Run all of slither's detectors over a folder of sources and print what they found in our own files, as JSON.

Runs in the environment of ``analysers.py``; the folder is the only argument, and ``solc`` is looked up on the PATH.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import sys
from pathlib import Path

from crytic_compile import CryticCompile
from crytic_compile.platform.solc_standard_json import SolcStandardJson
from slither import Slither
from slither.detectors import all_detectors
from slither.detectors.abstract_detector import AbstractDetector

UNREADABLE = re.compile(r"Impossible to generate IR for (\S+) \(([^)#]+)")


class Unreadable(logging.Handler):
    """Remembers the functions that slither could not read: about them it has nothing to say."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.names += [name for name, file in UNREADABLE.findall(record.getMessage()) if is_ours(file)]


def is_ours(file: str) -> bool:
    return not file.startswith("@")


def main(folder: Path) -> None:
    unreadable = Unreadable()
    logging.getLogger().addHandler(unreadable)
    sources = {path.name: {"content": path.read_text()} for path in folder.glob("*.sol")}
    request = {
        "language": "Solidity",
        "sources": sources,
        "settings": {
            "evmVersion": "cancun",
            "outputSelection": {"*": {"": ["ast"], "*": ["abi", "evm.bytecode", "evm.deployedBytecode"]}},
        },
    }
    slither = Slither(CryticCompile(SolcStandardJson(request), solc="solc", solc_working_dir=str(folder)))
    for _, kind in inspect.getmembers(all_detectors, inspect.isclass):
        if issubclass(kind, AbstractDetector) and kind is not AbstractDetector:
            slither.register_detector(kind)
    found = [finding for findings in slither.run_detectors() if findings for finding in findings]
    ours = [
        one for one in found if one["elements"] and is_ours(one["elements"][0]["source_mapping"]["filename_relative"])
    ]
    findings = sorted((one["check"], one["impact"], one["elements"][0]["name"]) for one in ours)
    json.dump({"findings": findings, "unreadable": unreadable.names, "contracts": len(slither.contracts)}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
