"""The compiled contracts that are shipped with the package: interface, code, and how to tell ours on a chain.

Reads its JSON files once; knows no network and no compiler (``tools/build_contracts.py`` makes the files).
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Any

import msgspec
from eth_hash.auto import keccak
from msgspec import Struct


class Artifact(Struct, frozen=True, rename="camel"):
    """One compiled contract, made of ``sources``. ``immutables`` are, for each value that deployment fills in, the
    (start, length) of all places where it stands in the code."""

    contract: str
    compiler: str
    openzeppelin: str
    settings: dict[str, Any]
    sources: tuple[str, ...]
    source_sha256: str
    runtime_sha256: str
    immutables: tuple[tuple[tuple[int, int], ...], ...]
    abi: list[dict[str, Any]]
    bin: str

    @property
    def bytecode(self) -> bytes:
        """The code that deploys the contract, without its constructor's arguments."""
        return bytes.fromhex(self.bin.removeprefix("0x"))

    def is_deployed_as(self, code: bytes) -> bool:
        """Whether ``code``, read from a chain, is this contract, whatever its immutables were set to.

        Code in which one immutable has two values is refused: it could take one token and pay out another.
        """
        masked = bytearray(code)
        for places in self.immutables:
            if len({code[start : start + length] for start, length in places}) > 1:
                return False
            for start, length in places:
                masked[start : start + length] = bytes(length)
        return hashlib.sha256(masked).hexdigest() == self.runtime_sha256

    def error_name(self, data: bytes) -> str:
        """The name of the contract error that ``data`` (what a revert returned) stands for, or
        ``"unknown"``."""
        for entry in self.abi:
            if entry["type"] == "error" and _selector(entry) == data[:4]:
                return str(entry["name"])
        return "unknown"


@cache
def load_artifact(contract: str) -> Artifact:
    """The shipped artifact of ``"Escrow"`` or ``"TestToken"``."""
    raw = resources.files("ledger").joinpath("contracts", f"{contract}.json").read_bytes()
    return msgspec.json.decode(raw, type=Artifact)


def _selector(entry: dict[str, Any]) -> bytes:
    types = ",".join(argument["type"] for argument in entry["inputs"])
    return keccak(f"{entry['name']}({types})".encode())[:4]
