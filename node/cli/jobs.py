"""``cfab ps``, ``cfab show``, ``cfab cancel``."""

from __future__ import annotations

import json
from typing import Any

import click

from node.cli.node_access import connect, resolve_job
from node.cli.options import Command, current_session
from node.cli.story import amount, price
from node.cli.terminal import safe, short, table

_OVER = ("succeeded", "failed", "cancelled")


@click.command(cls=Command)
@click.option("-a", "--all", "everything", is_flag=True, help="Finished jobs too.")
@click.option("-n", "count", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
def ps(everything: bool, count: int) -> None:
    """List jobs, newest first: the running ones, or with -a all of them."""
    session = current_session()
    jobs: list[dict[str, Any]] = connect(session).get("jobs")
    shown = [job for job in jobs if everything or job.get("state") not in _OVER][:count]
    if session.as_json:
        session.emit(shown)
        return
    if not shown:
        hidden = len(jobs) - len(shown)
        session.say(f"nothing is running; 'cfab ps -a' shows {hidden} finished" if hidden else "there are no jobs yet")
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
    print(table(("ID", "NAME", "STATE", "GPU", "PROVIDER", "SPENT", "CAP", "SUBMITTED (UTC)"), rows))


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
            print(f"{key:<13} {_plain(key, value)}")


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
        over = view.get("state") in _OVER
        print(f"{short(view.get('job'))}  {'is already ' + safe(view.get('state')) if over else 'is being stopped'}")


def _state(job: dict[str, Any]) -> str:
    error = job.get("error")
    return f"{job.get('state')} ({error.get('code')})" if isinstance(error, dict) else str(job.get("state"))


def _plain(key: str, value: Any) -> str:
    if isinstance(value, dict):
        if "amount" in value:
            return amount(value)
        if "hourly" in value:
            return price(value)
        if "message" in value:
            return safe(value["message"]) + (f" (fix: {safe(value['fix'])})" if value.get("fix") else "")
    if isinstance(value, list):
        return ", ".join(safe(item) for item in value)
    return safe(value if isinstance(value, str | int) else json.dumps(value))
