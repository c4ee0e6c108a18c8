"""``cfab ps``, ``cfab show``, ``cfab cancel``."""

from __future__ import annotations

import json
from typing import Any

import click

from node.cli.amounts import amount, at_risk, price
from node.cli.client import NodeClient
from node.cli.node_access import connect, resolve_job
from node.cli.options import Command, Session, current_session
from node.cli.terminal import safe, short, table

_OVER = ("succeeded", "failed", "cancelled")


@click.command(cls=Command)
@click.option("-a", "--all", "everything", is_flag=True, help="Finished jobs too.")
@click.option("-n", "count", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
def ps(everything: bool, count: int) -> None:
    """List jobs, newest first: the running ones, or with -a all of them."""
    session = current_session()
    client = connect(session)
    jobs: list[dict[str, Any]] = client.get("jobs")
    shown = [job for job in jobs if everything or job.get("state") not in _OVER][:count]
    if session.as_json:
        session.emit(shown)
        return
    if not shown:
        _say_none(session, client, hidden=len(jobs))
        return
    rows = [
        (
            short(job.get("job")),
            job.get("name"),
            _state(job),
            job.get("gpu"),
            short(job.get("provider")),
            amount(job.get("spent")),
            amount(job["cap"]) if job.get("cap") else "-",
            str(job.get("submitted_at", ""))[:19].replace("T", " "),
        )
        for job in shown
    ]
    print(table(("ID", "NAME", "STATE", "GPU", "PROVIDER", "SPENT", "CAP (tokens)", "SUBMITTED (UTC)"), rows))


@click.command(cls=Command)
@click.argument("job")
def show(job: str) -> None:
    """One job in full. JOB is an id, the start of one, a name, or - for the newest."""
    session = current_session()
    client = connect(session)
    view: dict[str, Any] = client.get("jobs", resolve_job(client, job))
    if session.as_json:
        session.emit(view)
        return
    for key, value in view.items():
        if value not in (None, "", []):
            print(f"{key:<13} {_plain(value)}")
    for line in _of_events(client, view):
        print(line)


@click.command(cls=Command)
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
def cancel(jobs: tuple[str, ...]) -> None:
    """Stop jobs. What ran until now is paid; the rest of the money comes back."""
    session = current_session()
    client = connect(session)
    views = [client.post("jobs", resolve_job(client, job), "cancel") for job in jobs]
    if session.as_json:
        session.emit(views)
        return
    for view in views:
        print(f"{short(view.get('job'))}  {_stopped(view)}")


def _stopped(view: dict[str, Any]) -> str:
    """What became of a wish to stop a job."""
    if view.get("state") in _OVER:
        return f"is already {safe(view.get('state'))}"
    gang = view.get("gang")
    if not gang:
        return "is being stopped"
    if view.get("started_at"):
        return f"is being stopped, and it alone of the {gang['size']} of its gang"
    return f"is being stopped, and with it all {gang['size']} of its gang: none begins without the others"


def _state(job: dict[str, Any]) -> str:
    error, dry_at = job.get("error"), job.get("runs_dry_at")
    if dry_at:
        return f"{job.get('state')} (dry {str(dry_at)[11:19]} UTC)"
    return f"{job.get('state')} ({error.get('code')})" if isinstance(error, dict) else str(job.get("state"))


def _say_none(session: Session, client: NodeClient, *, hidden: int) -> None:
    if hidden:
        session.say(f"nothing is running; 'cfab ps -a' shows {hidden} finished")
        return
    session.say("there are no jobs yet; jobs are what this node buys")
    if client.get("status").get("provider"):
        session.say("  what it sells: cfab provider status")


def _of_events(client: NodeClient, view: dict[str, Any]) -> list[str]:
    """What only the job's events know: the risk that was agreed to, and what became of its outputs."""
    lines: list[str] = []
    for event in _events_so_far(client, view):
        if event.get("type") == "leased" and event.get("exposure"):
            lines = [f"{'at risk':<13} {at_risk(event)} tokens at most, for either side"]
        elif event.get("type") == "outputs":
            lines += [f"{'missing':<13} {safe(path)}: the job did not make it" for path in event.get("missing") or ()]
            lines += [f"{'problem':<13} {safe(problem)}" for problem in event.get("problems") or ()]
    return lines


def _events_so_far(client: NodeClient, view: dict[str, Any]) -> list[dict[str, Any]]:
    """A live stream never says that there is no more yet: reading ends at an event that the job's state vouches for."""
    over, found = view.get("state") in _OVER, []
    if not over and not view.get("lease"):
        return []
    with client.stream("jobs", str(view["job"]), "events") as events:
        for event in events:
            found.append(event)
            if not over and _is_known_to_be_there(event, view):
                break
    return found


def _is_known_to_be_there(event: dict[str, Any], view: dict[str, Any]) -> bool:
    if view.get("state") == "settling":  # outputs are fetched before the final payment is made
        return event.get("type") == "paid" and bool(event.get("final"))
    return event.get("type") == "leased" and event.get("lease") == view["lease"]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        if "rank" in value:
            return f"{value['rank']} of {value.get('size')} (from 0), {safe(value.get('gang'))}"
        if "amount" in value:
            return f"{amount(value)} tokens"
        if "hourly" in value:
            return price(value)
        if "message" in value:
            return safe(value["message"]) + (f" (fix: {safe(value['fix'])})" if value.get("fix") else "")
    if isinstance(value, list):
        return ", ".join(safe(item) for item in value)
    return safe(value if isinstance(value, str | int) else json.dumps(value))
