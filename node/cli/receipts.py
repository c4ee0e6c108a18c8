"""``cfab receipts``: what was used, paid and returned, with the transactions that prove it."""

from __future__ import annotations

from typing import Any

import click

from market.errors import FabricError, InvalidRequest
from market.money import format_tokens
from node.cli.amounts import amount, price, units
from node.cli.client import NodeClient
from node.cli.node_access import connect, resolve_job
from node.cli.options import Command, current_session
from node.cli.terminal import safe, short, table


@click.command(cls=Command)
@click.argument("words", nargs=-1, metavar="[list | show] [JOB|RECEIPT]")
def receipts(words: tuple[str, ...]) -> None:
    """What was used, paid and returned.

    \b
    cfab receipts                 all of them
    cfab receipts JOB             those of one job in full
    cfab receipts show RECEIPT    one in full; the id of its job works too, and 'show' may be left out
    """
    session = current_session()
    client = connect(session)
    verb, rest = (words[0], words[1:]) if words and words[0] in ("list", "show") else ("list", words)
    if len(rest) > 1 or (verb == "show" and not rest):
        raise click.UsageError("receipts takes one job or receipt", click.get_current_context())
    if verb == "show":
        found = [_one(client, rest[0])]
    elif rest:
        found = _of(client, rest[0])
    else:
        found = client.get("receipts")
    if session.as_json:
        session.emit(found[0] if verb == "show" else found)
    elif not found:
        session.say("there are no receipts yet")
    elif verb == "show" or rest:
        print("\n\n".join(_full(receipt) for receipt in found))
    else:
        _list(found)


def _of(client: NodeClient, reference: str) -> list[dict[str, Any]]:
    """The receipts of a job, or the one receipt that is meant."""
    try:
        job = resolve_job(client, reference)
        found: list[dict[str, Any]] = client.get("receipts", job=job)
    except FabricError as error:
        if error.code not in ("not_found", "ambiguous"):
            raise
        return [_one(client, reference)]
    return found


def _one(client: NodeClient, reference: str) -> dict[str, Any]:
    known: list[dict[str, Any]] = client.get("receipts")
    for field in ("receipt", "job", "lease"):
        found = [one for one in known if str(one.get(field) or "").startswith(reference.lower())]
        if len(found) == 1:
            return found[0]
    if reference == "-" and known:
        return known[0]
    raise InvalidRequest(f"'{reference}' is not one receipt", code="not_found", fix="'cfab receipts' lists them")


def _list(found: list[dict[str, Any]]) -> None:
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
    print(table(("RECEIPT", "JOB", "PROVIDER", "USED", "PRICE", "AMOUNT (tokens)", "STATE"), rows))


def _full(one: dict[str, Any]) -> str:
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
