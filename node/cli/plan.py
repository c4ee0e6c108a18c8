"""``cfab plan``: what would happen to a job now, without buying."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import click

from market.money import format_tokens
from node.cli import failures
from node.cli.amounts import amount, price, units
from node.cli.auction_lines import (
    Propose,
    candidate_lines,
    closest_lines,
    cost_lines,
    counts_line,
    limits_line,
    rule_lines,
    weights_lines,
)
from node.cli.failures import Usage
from node.cli.job_options import job_options
from node.cli.node_access import connect
from node.cli.options import Command, current_session
from node.cli.terminal import safe, short
from node.cli.typed_job import TypedJob, quote
from node.quantities import format_duration

_ENDINGS = (".yaml", ".yml")


@click.command(cls=Command)
@click.argument("target", metavar="FILE|IMAGE")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("-f", "--file", "file", metavar="FILE", help="With IMAGE: start from a job file; flags win over it.")
@job_options
def plan(target: str, command: tuple[str, ...], *, file: str | None, **flags: Any) -> int:
    """Show what would happen to a job now: who fits, what each would cost and why the others do not. Buys nothing.

    Takes what 'cfab submit' and 'cfab run' take. Exit code 5 when nothing fits, 6 when the wallet holds too little.

    \b
    cfab plan job.yaml
    cfab plan -g 24GB+ -t 30m --max-price 0.40/h cfab-job-base:local -- python3 train.py
    """
    session = current_session()
    home = ("--home", session.home_option) if session.home_option else ()
    if file is None and command and target.endswith(_ENDINGS) and _is_file(target):
        words = " ".join(map(quote, command))
        raise Usage(
            f"'{target}' is a job file, which says what to run itself: '{words}' would be for an image",
            fix=f"cfab plan {quote(target)}; to run something else: cfab plan -f {quote(target)} IMAGE -- {words}",
        )
    if file is None and not command and _is_file(target):
        typed = TypedJob.read(flags, target, others=home)
    else:
        typed = TypedJob.read(flags, file, image=target, command=command, others=home)
    request = typed.request()
    view: dict[str, Any] = connect(session).post("plan", body=request.to_post())
    if session.as_json:
        session.emit(view)
    else:
        print("\n".join(plan_lines(view, partial(typed.proposal, request))))
        if view.get("chosen"):
            session.say(f"  next: {safe(typed.line())}")
    if not view.get("matches") or _are_too_few(view):
        return failures.exit_code("no_match")
    return 0 if view.get("chosen") else failures.exit_code("insufficient_funds")


def plan_lines(view: dict[str, Any], propose: Propose | None = None) -> list[str]:
    """A plan as lines of text. Pure."""
    lines = [
        *_head(view),
        *(f"  {line}" for line in weights_lines(view)),
        counts_line(view),
        *candidate_lines(view, 16),
    ]
    lines += _gang_lines(view) if _is_gang(view) else _best_lines(view)
    if rules := rule_lines(view):
        lines += ["", *rules]
    return lines + closest_lines(view, propose, command=not view.get("matches"))


def _best_lines(view: dict[str, Any]) -> list[str]:
    best = next((one for one in view.get("candidates", []) if one.get("rank") == (view.get("chosen") or 1)), None)
    if best is None:
        return []
    who = f"{short(best.get('provider'))}/{safe(best.get('machine'))}"
    if view.get("chosen"):
        lines = ["", f"#{best['rank']} {who} would be asked first:"]
    else:
        lines = ["", f"the wallet holds too little for any of them; #{best['rank']} {who}:"]
    return [*lines, *(f"  {line}" for line in cost_lines(best)), f"  {limits_line(best)}"]


def _gang_lines(view: dict[str, Any]) -> list[str]:
    """What a job on several machines would ask for."""
    machines, together = view["machines"], view.get("together") or []
    if _are_too_few(view):
        return ["", f"there are not {machines} machines of different owners that may work together"]
    chosen = [one for one in view.get("candidates", []) if one.get("rank") in together]
    cap = format_tokens(sum(units(one.get("cap")) for one in chosen))
    ranks = ", ".join(f"#{rank}" for rank in together)
    if not view.get("chosen"):
        return ["", f"the wallet holds too little for {ranks} together: {cap} tokens would be set aside"]
    return ["", f"{ranks} would be asked, all or none: {cap} tokens are set aside"]


def _is_gang(view: dict[str, Any]) -> bool:
    return int(view.get("machines") or 1) > 1


def _are_too_few(view: dict[str, Any]) -> bool:
    return _is_gang(view) and not view.get("together")


def _head(view: dict[str, Any]) -> list[str]:
    slots, longest = int(view.get("slots") or 1), format_duration(int(view.get("max_duration_ms") or 0))
    runs, expected = int(view.get("earlier_runs") or 0), view.get("expected_ms")
    reckoned = f"expected to take {format_duration(expected)} on an A100" if expected else "reckoned with all of it"
    each = f" on each of {view['machines']} machines" if _is_gang(view) else ""
    learned = f", as in {runs} earlier run{'s' if runs != 1 else ''}" if runs and expected else ""
    funds = f"; the wallet can set aside {amount(view['funds'])}" if view.get("funds") else ""
    caps = f"{price(view.get('max_price'))} for each slot, {amount(view.get('max_total'))} tokens in all"
    return [
        f"{safe(view.get('name'))}: {safe(view.get('image'))}, {slots} slot{'s' if slots != 1 else ''}{each}",
        f"  runs at most {longest}, {reckoned}{learned}",
        f"  pays at most {caps}{funds}",
    ]


def _is_file(target: str) -> bool:
    return target == "-" or target.endswith(_ENDINGS) or os.path.isfile(target)
