"""``cfab whatif``: one answer for a job: how many offers fit now, what it would cost and when it would start."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from node.cli.job_options import job_options
from node.cli.look import Seen, forbid_join, show
from node.cli.node_access import connect
from node.cli.options import LookCommand, current_session
from node.cli.terminal import safe, short
from node.quantities import format_duration

if TYPE_CHECKING:
    from node.cli.auction_lines import Propose
    from node.cli.typed_job import TypedJob
    from node.job_file import JobRequest

_NO_MATCH = 5
_UNNAMED = "what-if:local"
"""An image that no provider has: what it would cost to fetch is known by --image-size alone."""


@click.command(cls=LookCommand)
@click.argument("file", required=False)
@job_options
def whatif(file: str | None, **flags: Any) -> int:
    """Tell what a job would meet on the market now, without buying.

    FILE is a job file, - for stdin; without one the flags describe the job, for one hour at any price unless they say
    otherwise. The start is an estimate. Exit code 5 when nothing fits.

    \b
    cfab --light whatif -g RTX4090 -t 30m --max-price 0.5/h
    """
    typed = _typed(file, flags)
    request = typed.request()
    seen = _ask(request)
    show(seen, partial(_print, propose=partial(typed.proposal, request)))
    return 0 if seen.data["matches"] else _NO_MATCH


def _typed(file: str | None, flags: dict[str, Any]) -> TypedJob:
    from node.cli.typed_job import TypedJob

    if file is None:
        flags = {**flags, "max_duration": flags.get("max_duration") or "1h"}
        if not flags.get("max_price") and not flags.get("max_total"):
            flags["max_price"] = "1000000/h"
    return TypedJob.read(flags, file, image="" if file else _UNNAMED)


def _ask(request: JobRequest) -> Seen:
    session = current_session()
    if session.light:
        from node.cli.light import ask_peers_what_if

        return ask_peers_what_if(session, request)
    from node.what_if import what_if

    forbid_join(session)
    return Seen("whatif", what_if(connect(session).post("plan", body=request.to_post())))


def _print(view: dict[str, Any], *, propose: Propose) -> None:
    best, start = view["best"], view["start"]
    if best is None or start is None:
        offers = int(view["offers"])
        print("this job now: " + (f"none of {offers} offers fits" if offers else "nobody offers anything"))
        _print_why_not(view, propose)
        return
    matches = int(view["matches"])
    print(
        f"this job now: {matches} match{'' if matches == 1 else 'es'}, {safe(best['expected_cost']['amount'])} tokens,"
        f" start ≈ {format_duration(int(start['total_ms']))}"
    )
    simulated = " (simulated)" if best["simulated"] else ""
    print(f"  best   {short(best['provider'])}/{safe(best['machine'])}  {safe(best['gpu'])}{simulated}"
          f"  {safe(best['price']['hourly'])}  at most {safe(best['cap']['amount'])} tokens")  # fmt: skip
    print("  cost   " + " + ".join(f"{safe(term)} {safe(money['amount'])}" for term, money in best["cost"].items()))
    parts = [("funding", "funding_ms"), ("container", "container_ms"), ("image", "image_ms"), ("inputs", "inputs_ms")]
    print("  start  " + " + ".join(f"{name} {format_duration(int(start[key]))}" for name, key in parts))
    if not view.get("affordable", True):
        current_session().say("the wallet cannot set aside what it may cost at most; 'cfab wallet' shows what there is")


def _print_why_not(view: dict[str, Any], propose: Propose) -> None:
    from node.cli.auction_lines import closest_lines, rule_lines

    for line in [*rule_lines(view), *closest_lines(view, propose, command=False)]:
        print(f"  {line}")
