"""``cfab provider earnings``: what selling brought in, by day, GPU model or job."""

from __future__ import annotations

from typing import Any

import click

from node.cli.amounts import amount, not_drawn
from node.cli.node_access import connect
from node.cli.options import Command, current_session
from node.cli.terminal import table
from node.cli.wallet_money import one_form_only, write_csv

_HOUR_MS = 3_600_000


@click.command(cls=Command)
@click.option(
    "--by", type=click.Choice(["day", "gpu", "job"]), default="day", help="One line per day (UTC), GPU model or job."
)
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values on stdout.")
def earnings(by: str, as_csv: bool) -> None:
    """What selling brought in. The lines add up to the sum of the receipts, to the unit.

    They count what was vouched. What of it was not drawn from the escrow yet, or is lost, is told below them.

    A provider knows a job by its lease; 'cfab receipts' has both.
    """
    session = current_session()
    one_form_only(session.as_json, as_csv)
    view: dict[str, Any] = connect(session).get("provider", "earnings", by=by)
    lines = view.get("lines") or []
    if session.as_json:
        session.emit(view)
    elif as_csv:
        rows = [
            (one["key"], one["amount"]["amount"], one["amount"]["units"], one["gpu_ms"], one["leases"]) for one in lines
        ]
        write_csv((by, "tokens", "units", "gpu_ms", "leases"), rows)
    else:
        shown = [
            (one.get("key"), amount(one.get("amount")), f"{one.get('gpu_ms', 0) / _HOUR_MS:.3f}", one.get("leases"))
            for one in lines
        ]
        print(table((by.upper(), "EARNED (tokens)", "GPU HOURS", "LEASES"), shown))
        print(f"total     {amount(view.get('total'))} tokens")
        if told := not_drawn(view.get("settled")):
            print(f"          of this {told}")
