"""``cfab config``: what the node would run with, and where each value came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from node.cli.options import Command, current_session
from node.cli.terminal import safe, table

_UNSET_AT_ZERO = frozenset(
    {"provider.floor", "provider.price_cap", "provider.notice", "provider.speed", "provider.net"}
)

_TOKENS = frozenset(
    {
        "chain.deposit_limit",
        "payout.keep",
        "payout.threshold",
        "provider.redeem_above",
        "requester.lane_cost",
        "wallet.daily_limit",
    }
)


@click.command(cls=Command)
@click.option("-c", "--config", "file", metavar="FILE", help="Another config file than the home's.")
def config(file: str | None) -> None:
    """Show the configuration and where each value came from. Keys hidden in a chain endpoint are not shown."""
    session = current_session()
    from node.config import NodeConfig, load_config

    loaded: NodeConfig = load_config(session.home, file=Path(file) if file else None)
    rows = list(_rows(loaded))
    if session.as_json:
        session.emit(
            {
                "home": str(loaded.home),
                "settings": [{"key": key, "value": value, "source": source} for key, value, source in rows],
            }
        )
        return
    print(f"home  {safe(loaded.home)}")
    shown = [(key, _plain(value), source) for key, value, source in rows]
    print(table(("KEY", "VALUE", "FROM"), shown))


def _rows(loaded: Any) -> list[tuple[str, Any, str]]:
    """Dotted key, value in plain data, source."""
    from node.config_keys import KEYS

    rows = []
    for section, keys in KEYS.items():
        struct = loaded if section == "node" else getattr(loaded, section)
        if struct is None:
            continue
        for key, rule in keys.items():
            dotted = f"{section}.{key}"
            value = _value(dotted, rule.field, getattr(struct, rule.field))
            rows.append((dotted, value, loaded.sources.get(dotted, "default")))
    return rows


def _value(dotted: str, field: str, value: Any) -> Any:
    from market.money import format_hourly, format_tokens
    from node.quantities import format_duration, format_memory

    if dotted == "chain.rpc":
        return ", ".join(_without_keys(url) for url in value)
    if dotted in ("chain.fee_cap", "chain.urgent_fee_cap"):
        return f"{value // 10**9}"
    if dotted in _UNSET_AT_ZERO and not value:
        return ""
    if dotted in ("provider.price", "provider.floor", "provider.price_cap"):
        return format_hourly(value)
    if dotted == "provider.gpu":
        return value.kind if value.kind != "simulated" else f"simulated:{value.model}:{format_memory(value.vram_mib)}"
    if dotted in _TOKENS:
        return format_tokens(value)
    if field.endswith("_ms"):
        return format_duration(value)
    if field.endswith("_mib"):
        return format_memory(value)
    if field.endswith("_mbps"):
        return f"{value}Mbit"
    if field.endswith("_milli"):
        return f"{value / 1000:g}"
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, bool | int | str) else str(value)


def _without_keys(url: str) -> str:
    """Hosted endpoints carry the owner's key in user, path or query."""
    parts = urlsplit(url)
    hidden = parts.username or parts.query or parts.path.strip("/")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}" + ("/…" if hidden else "")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value) or "none"
