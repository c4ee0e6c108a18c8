"""Money and prices of events and views, as people read them. Pure; made harmless for a terminal."""

from __future__ import annotations

from typing import Any

from node.cli.terminal import safe
from node.quantities import format_gas


def amount(value: object) -> str:
    """Money of an event as the node writes it: six decimals, so that a column of amounts can be compared at sight."""
    return safe(value.get("amount", "?") if isinstance(value, dict) else value)


def units(value: object) -> int:
    """The exact integer behind money of an event; 0 when there is none."""
    found = value.get("units") if isinstance(value, dict) else 0
    return found if isinstance(found, int) else 0


def at_risk(leased: dict[str, Any]) -> str:
    """The most either side can lose by the other's fault, of a ``leased`` event: never more than the whole cost."""
    exposure, cap = leased.get("exposure"), leased.get("cap")
    return amount(cap if cap and units(cap) < units(exposure) else exposure)


def price(value: object) -> str:
    """A price of an event, per hour."""
    return safe(value.get("hourly", "?") if isinstance(value, dict) else value)


def not_drawn(settled: dict[str, Any] | None) -> str:
    """What of the vouched sum the chain has not paid; empty when it has paid all."""
    found = settled or {}
    said = (("outstanding", "not drawn yet"), ("lost", "lost: the payer took it back before it was drawn"))
    return " · ".join(f"{amount(found[name])} {words}" for name, words in said if units(found.get(name)))


def gas(value: object) -> str:
    """Gas money of a view, decimal text of the coin's smallest part."""
    text = str(value)
    return format_gas(int(text)) if text.isascii() and text.isdigit() and len(text) <= 80 else safe(value)
