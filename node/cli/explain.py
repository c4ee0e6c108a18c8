"""``cfab explain``: why a job went to its provider, or to nobody, and what came of what was expected."""

from __future__ import annotations

import base64
import shlex
from typing import Any

import click

from market.errors import InvalidRequest
from node.cli.amounts import amount
from node.cli.auction_lines import (
    candidate_lines,
    closest_lines,
    cost_lines,
    counts_line,
    limits_line,
    rule_lines,
    weights_lines,
)
from node.cli.node_access import connect, resolve_job
from node.cli.options import Command, current_session
from node.cli.terminal import safe, short, table
from node.quantities import format_duration


@click.command(cls=Command)
@click.argument("job")
@click.option(
    "--award", "file", metavar="FILE", help="Also write what proves the choice, for 'cfab verify-award FILE'."
)
def explain(job: str, *, file: str | None) -> None:
    """Why a job went to its provider, or to nobody. JOB is an id, the start of one, a name, or - for the newest.

    The file that --award writes can be shown to anybody. It holds the signed offers the choice was made from, the bids
    of rivals, and what this node kept to itself until then: its price cap above all.
    """
    session = current_session()
    client = connect(session)
    job = resolve_job(client, job)
    if file is not None:
        _write(file, client.get("jobs", job, "award")["file"])
        session.say(f"written: {safe(file)} · 'cfab verify-award {safe(shlex.quote(file))}' checks it")
    view: dict[str, Any] = client.get("jobs", job, "explain")
    if session.as_json:
        session.emit(view)
    else:
        print("\n".join(explain_lines(view)))


def _write(file: str, content: str) -> None:
    """A new file: what is there already is not ours to replace."""
    try:
        with open(file, "xb") as target:
            target.write(base64.b64decode(content))
    except FileExistsError:
        raise InvalidRequest(
            f"'{file}' is already there and is not overwritten", code="file_exists", fix="name another file"
        ) from None


def explain_lines(view: dict[str, Any]) -> list[str]:
    """An explanation as lines of text. Pure."""
    lines = [f"job {short(view.get('job'))} ({safe(view.get('name'))}): {safe(view.get('state'))}"]
    if view.get("waits_until"):
        lines[0] += f", waits for an offer until {safe(view['waits_until'])}"
    auctions = view.get("auctions") or []
    for number, auction in enumerate(auctions, 1):
        lines += _auction(auction, f"{number}. auction" if len(auctions) > 1 else "auction")
    if chosen := view.get("chosen"):
        lines += ["", f"expected cost of #{safe(chosen.get('rank'))}:", *(f"  {line}" for line in cost_lines(chosen))]
        lines.append(f"  {limits_line(chosen)}")
        lines += _comparison(view.get("expected"), view.get("actual"))
    if now := view.get("now"):
        lines += ["", f"now: {counts_line(now)}", *candidate_lines(now), *rule_lines(now), *closest_lines(now)]
    return lines


def _auction(auction: dict[str, Any], what: str) -> list[str]:
    seen, chosen = auction.get("seen") or {}, auction.get("chosen")
    lines = ["", f"{what} at {_clock(auction)}: {counts_line(seen)}", *(f"  {line}" for line in weights_lines(seen))]
    lines += candidate_lines(seen, max(5, chosen or 0))
    lines += [
        f"{_clock(refusal)} {short(refusal.get('provider'))} refused: {safe(refusal.get('reason'))}"
        + (f" ({safe(refusal['detail'])})" if refusal.get("detail") else "")
        for refusal in auction.get("refusals") or ()
    ]
    if chosen is not None:
        lines.append(f"#{safe(chosen)} granted the lease")
    if not seen.get("matches"):
        lines += [*rule_lines(seen), *closest_lines(seen)]
    return lines


def _comparison(expected: dict[str, Any] | None, actual: dict[str, Any] | None) -> list[str]:
    if not expected or not actual:
        return []
    fetched = [actual.get("start_ms"), actual.get("outputs_ms")]
    rows = [
        ("paid (tokens)", amount(expected.get("compute")), amount(actual.get("paid"))),
        ("run", _time(expected.get("run_ms")), _time(actual.get("run_ms"))),
        ("fetch image and files", _time(expected.get("fetch_ms")), "-"),
        ("from lease to start", "-", _time(fetched[0])),
        ("outputs brought home", "-", _time(fetched[1])),
    ]
    return ["", *table(("", "EXPECTED", "CAME"), rows).splitlines()]


def _time(ms: object) -> str:
    return format_duration(ms) if isinstance(ms, int) else "-"


def _clock(event: dict[str, Any]) -> str:
    return safe(str(event.get("time", ""))[11:19])
