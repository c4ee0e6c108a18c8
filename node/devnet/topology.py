"""Who takes part in the demo's market, and the configuration file each one starts from. Pure.

The three providers differ on purpose, so that the matching table has something to say: one fits, one is dearer than
the job allows, and one sells a GPU that does not exist, which a requester refuses unless it asked for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

INTRODUCER, REQUESTER = "introducer", "requester"
PROVIDERS = ("north", "west", "south")
NODES = (INTRODUCER, *PROVIDERS, REQUESTER)
"""In order of start: whoever must be met comes first."""
FITTING = "north"
"""The one that the demo's job is meant to find."""
TRADERS = (*PROVIDERS, REQUESTER)
"""The nodes that have a wallet."""

_SHELVES: dict[str, dict[str, str | int]] = {
    "north": {
        "price": "0.30/h",
        "gpu": "none",
        "cpu": 1,
        "memory": "1GB",
        "disk": "1GB",
        "region": "eu-north",
        "jurisdiction": "se",
    },
    "west": {
        "price": "0.90/h",
        "gpu": "none",
        "cpu": 2,
        "memory": "4GB",
        "disk": "4GB",
        "region": "us-west",
        "jurisdiction": "us",
    },
    "south": {
        "price": "0.20/h",
        "gpu": "simulated:RTX4090:24GB",
        "cpu": 1,
        "memory": "2GB",
        "disk": "1GB",
        "region": "eu-south",
        "jurisdiction": "it",
    },
}
_RHYTHM = {"tick": "1s", "grace": "4s", "final_within": "10s", "settle_patience": "5s"}
"""Short, so that a ten-second job shows several payments, and so that nobody waits minutes for a dead neighbour."""


class ChainFacts(Struct, frozen=True, kw_only=True):
    """Where the devnet settles. Addresses are 20 bytes."""

    rpc: str
    chain_id: int
    escrow: bytes
    token: bytes
    start_block: int = 0


class Seat(Struct, frozen=True, kw_only=True):
    """One node's place: its folder, its TCP port on loopback, and its peer id."""

    name: str
    home: Path
    port: int
    peer_id: str

    @property
    def address(self) -> str:
        """Where the others reach it."""
        return f"/ip4/127.0.0.1/tcp/{self.port}/p2p/{self.peer_id}"


def config_text(seat: Seat, introducer: Seat, chain: ChainFacts, *, real_gpu: bool = False) -> str:
    """The TOML a node of this name starts from. With ``real_gpu`` the provider that fits sells this machine's card."""
    node: dict[str, object] = {"name": seat.name, "listen": [f"/ip4/127.0.0.1/tcp/{seat.port}"]}
    if seat.name == INTRODUCER:
        return _table("node", {**node, "introducer": True})
    node |= {"introducers": [introducer.address], "provide": seat.name in PROVIDERS}
    text = _table("node", node) + _table("chain", _chain_table(chain))
    if seat.name in PROVIDERS:
        shelf = {**_SHELVES[seat.name], **_RHYTHM, "slots": 1, "machine": seat.name}
        if real_gpu and seat.name == FITTING:
            shelf["gpu"] = "auto"
        text += _table("provider", shelf)
    if seat.name == REQUESTER:
        text += _table("requester", {"close_lanes": True, "close_patience": "5s"})
    return text


def newcomer_config(introducer: Seat, chain: ChainFacts) -> str:
    """The TOML of a node that joins from outside the demo: a requester, or with ``--provide`` a seller of one CPU."""
    node = {"name": "newcomer", "listen": ["/ip4/127.0.0.1/tcp/0"], "introducers": [introducer.address]}
    shelf: dict[str, object] = {"price": "0.25/h", "gpu": "none", "slots": 1, "cpu": 1, "memory": "1GB", "disk": "1GB"}
    return _table("node", node) + _table("chain", _chain_table(chain)) + _table("provider", {**shelf, **_RHYTHM})


def _chain_table(chain: ChainFacts) -> dict[str, object]:
    return {
        "rpc": chain.rpc,
        "chain_id": chain.chain_id,
        "escrow": f"0x{chain.escrow.hex()}",
        "token": f"0x{chain.token.hex()}",
        "confirmations": 0,
        "start_block": chain.start_block,
    }


def _table(name: str, values: Mapping[str, object]) -> str:
    # JSON's strings, numbers, booleans and lists of strings are also TOML's.
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join([f"[{name}]", *lines, "", ""])
