"""Receipts as people read them: a line for each, one in full, and what each of its steps added. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from market.money import format_tokens
from node.cli.amounts import amount, price, units
from node.cli.terminal import safe, short, table


def list_of(found: Sequence[dict[str, Any]]) -> str:
    """A line for each receipt."""
    rows = [
        (
            short(one.get("receipt")),
            short(one.get("job")),
            short(one.get("provider")),
            f"{int(one.get('gpu_ms') or 0) / 1000:.1f} s",
            price(one.get("price")),
            amount(one.get("amount")),
            "settled" if one.get("settled") else "open",
        )
        for one in found
    ]
    return table(("RECEIPT", "JOB", "PROVIDER", "USED", "PRICE", "AMOUNT (tokens)", "STATE"), rows)


def full(one: dict[str, Any]) -> str:
    """One receipt in full."""
    lines = [f"receipt    {safe(one.get('receipt'))}  ({'settled' if one.get('settled') else 'not settled yet'})"]
    names = ("job", "lease", "provider", "payer", "machine", "gpu")
    lines += [f"{name:<10} {safe(one[name])}" for name in names if one.get(name)]
    used = int(one.get("gpu_ms") or 0) / 1000
    lines.append(f"{'used':<10} {used:.3f} s at {price(one.get('price'))} = {amount(one.get('amount'))} tokens")
    lines.append(f"{'ended':<10} {safe(one.get('exit_reason'))}, exit code {safe(one.get('exit_code'))}")
    lines.append(
        f"{'money':<10} set aside {amount(one.get('deposited'))} tokens · paid {amount(one.get('paid'))}"
        f" · returned {amount(one.get('refunded'))}"
    )
    if one.get("reclaimed"):
        left = format_tokens(max(0, units(one.get("amount")) - units(one.get("paid"))))
        lines.append(f"{'reclaimed':<10} {left} was vouched and not drawn: the payer's exit took it home")
    for transaction in one.get("transactions") or []:
        where = f"{safe(transaction.get('hash'))} (block {safe(transaction.get('block'))})"
        lines.append(f"{safe(transaction.get('purpose')):<10} {where}")
    return "\n".join(lines)


def steps_of(lines: Sequence[dict[str, Any]], refusals: Sequence[dict[str, Any]]) -> str:
    """What each receipt of a lease added, and which were refused."""
    rows = [
        (
            line["sequence"],
            line["answered_at"],
            f"{line['gpu_ms'] / 1000:.3f} s",
            line["amount"],
            format_tokens(line["lease_amount_units"]),
            "-" if line["voucher_units"] is None else format_tokens(line["voucher_units"]),
            "final" if line["final"] else "",
        )
        for line in lines
    ]
    shown = [table(("NUMBER", "ANSWERED", "USED", "ADDED (tokens)", "LEASE SO FAR", "VOUCHER FOR", ""), rows)]
    if refusals:
        header = ("NUMBER", "REFUSED", "REASON", "EXPECTED", "FOUND")
        shown.append(table(header, [tuple(refusal.values()) for refusal in refusals]))
    return "\n\n".join(shown)
