"""``cfab provider``: the owner's switch."""

from __future__ import annotations

from typing import Any

import click

from market.errors import InvalidRequest
from node.cli.amounts import amount
from node.cli.earnings import earnings
from node.cli.node_access import connect
from node.cli.options import Command, Group, current_session
from node.cli.prices import price, set_price
from node.cli.status import provider_line
from node.cli.terminal import short, table


@click.group(cls=Group)
def provider() -> None:
    """Pause, resume, price and watch this machine's offer."""


provider.add_command(earnings)
provider.add_command(price)
provider.add_command(set_price)


@provider.command(cls=Command)
def pause() -> None:
    """Take no more jobs; the running ones are finished."""
    _show(connect().post("provider", "pause"))


@provider.command(cls=Command)
def resume() -> None:
    """Offer this machine again."""
    _show(connect().post("provider", "resume"))


@provider.command(cls=Command)
def status() -> None:
    """What is offered, what runs, what it earned."""
    view = connect().get("status").get("provider")
    if view is None:
        raise InvalidRequest("this node sells nothing", code="not_a_provider", fix="start it with 'cfab up --provide'")
    _show(view)


def _show(view: dict[str, Any]) -> None:
    session = current_session()
    if session.as_json:
        session.emit(view)
        return
    print(provider_line(view))
    leases = view.get("leases") or []
    if leases:
        rows = [
            (
                short(one.get("lease")),
                one.get("stage"),
                one.get("image"),
                short(one.get("requester")),
                amount(one.get("paid")),
                amount(one["at_risk"]) if one.get("at_risk") else "-",
            )
            for one in leases
        ]
        print(table(("LEASE", "STAGE", "IMAGE", "REQUESTER", "PAID (tokens)", "AT RISK"), rows))
