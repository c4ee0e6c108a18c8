"""``cfab stake``: what a provider puts up against lying, and the proof that takes half of it away."""

from __future__ import annotations

from typing import Any

import click

from market.errors import InvalidRequest
from market.money import parse_tokens
from node.cli.amounts import amount
from node.cli.node_access import connect
from node.cli.options import Command, Group, current_session
from node.cli.terminal import safe
from node.cli.typed_value import read_value
from node.cli.wallet_money import CHAIN_PATIENCE_S, confirm
from node.plain_json import read_json

_MAX_PROOF = 64 * 1024


@click.group(cls=Group)
def stake() -> None:
    """Put up, take back and show a provider's stake."""


@stake.command(cls=Command)
@click.argument("provider", required=False, default="")
def show(provider: str) -> None:
    """The stake of PROVIDER, an account 0x…; without one, of this node."""
    _show(connect().get("stake", provider=provider))


@stake.command(cls=Command)
@click.argument("tokens", metavar="AMOUNT")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def add(tokens: str, yes: bool) -> None:
    """Stake AMOUNT tokens more. It also stops a leave that has begun."""
    read_value("AMOUNT", parse_tokens, tokens)
    confirm(yes, f"stake {safe(tokens)} tokens? Getting them back takes twice the longest delay of any lane")
    _change("add", {"amount": tokens})


@stake.command(cls=Command)
def leave() -> None:
    """Begin to take the whole stake out. Until it is taken it can still be lost."""
    _change("leave")


@stake.command(cls=Command)
def take() -> None:
    """Take the stake out, once it is unlocked."""
    _change("take")


@stake.command(cls=Command)
@click.argument("proof", type=click.File("rb"))
def slash(proof: Any) -> None:
    """Show the escrow a PROOF (a JSON file) that a provider signed two different statements under one number."""
    raw = proof.read(_MAX_PROOF + 1)
    try:
        body = read_json(raw) if len(raw) <= _MAX_PROOF else None
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise InvalidRequest(
            "that is no proof of a contradiction",
            code="bad_proof",
            fix="give the file that 'cfab receipts prove -o FILE' wrote",
            where=str(proof.name),
        )
    _change("slash", body)


def _change(verb: str, body: dict[str, Any] | None = None) -> None:
    session = current_session()
    answer = connect(session).post("stake", verb, body=body, timeout_s=CHAIN_PATIENCE_S)
    if session.as_json:
        session.emit(answer)
        return
    print(f"done · transaction {safe(answer.get('transaction'))}")
    _show(answer.get("stake") or {})


def _show(view: dict[str, Any]) -> None:
    session = current_session()
    if session.as_json:
        session.emit(view)
        return
    print(f"provider  {safe(view.get('provider'))}")
    print(f"stake     {amount(view.get('amount'))} tokens")
    if view.get("unlock_at"):
        print(f"leaving   {'can be taken now' if view.get('can_take') else 'unlocked at ' + safe(view['unlock_at'])}")
