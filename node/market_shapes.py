"""What the market looks like from outside, as plain data that JSON can hold: bids, depth, price history."""

from __future__ import annotations

from typing import TypedDict

from node.control import PriceView


class BidView(TypedDict):
    """A live bid as its requester gossiped it: what is needed, never what it would pay. Sizes are per slot; empty lists
    and zeros mean "any". ``mine`` marks the node's own."""

    bid: str
    requester: str
    mine: bool
    strategy: str
    gpus: list[str]
    slots: int
    vram_mib: int
    vram_max_mib: int
    cpu_milli: int
    memory_mib: int
    disk_mib: int
    regions: list[str]
    jurisdictions: list[str]
    interruptible: bool
    simulated: bool
    issued_at: str
    expires_at: str


class DepthLevel(TypedDict):
    """What can be had at one price: ``slots`` at this price, ``cumulative`` at this or a lower one."""

    price: PriceView
    slots: int
    cumulative: int
    providers: int


class DepthView(TypedDict):
    """How much of one GPU model is free, cheapest first. ``providers`` counts each owner's key once, and a level's
    ``providers`` those with something free at this or a lower price."""

    gpu: str
    simulated: bool
    slots: int
    providers: int
    levels: list[DepthLevel]


class HistoryBar(TypedDict):
    """One model's market at a moment, or over ``span_s`` seconds before it. Only offers with free slots count.
    ``evidence`` has the ids of the signed offers of the three prices."""

    gpu: str
    simulated: bool
    closed_at: str
    span_s: int
    offers: int
    providers: int
    slots: int
    lowest: PriceView
    median: PriceView
    dearest: PriceView
    evidence: list[str]


class OfferRef(TypedDict):
    """An offer that a peer does not show as it is: the version that others show, and the peer's own, null for none."""

    provider: str
    machine: str
    version: int
    shown: int | None


class PeerReport(TypedDict):
    """What one peer did when it was asked with ``--light``. ``offers`` counts what it showed; ``complete`` is false
    when it did not show everything. ``hides`` and ``stale`` name at most 100 offers that it did not show, or showed in
    an older version or after their end; ``forges`` counts records that nobody signed like that, by code."""

    peer: str
    peer_id: str
    addresses: list[str]
    answered: bool
    complete: bool
    offers: int
    hides: list[OfferRef]
    stale: list[OfferRef]
    forges: dict[str, int]
