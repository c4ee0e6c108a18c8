"""``cfab run`` and ``cfab submit``: from flags or a file to a job, and stay with it until it ends."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from node.cli.follow import follow_job, job_exit_code
from node.cli.job_options import job_options
from node.cli.node_access import connect
from node.cli.options import Command, Session, current_session
from node.cli.terminal import safe, short
from node.cli.typed_job import TypedJob

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.cli.client import NodeClient


def _job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What describes a job, and how to stay with it."""
    function = click.option("--ticks", is_flag=True, help="Also show every payment.")(function)
    function = click.option("-d", "--detach", is_flag=True, help="Print the job's id and leave.")(function)
    return job_options(function)


@click.command(cls=Command)
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("-f", "--file", "file", metavar="FILE", help="Start from a job file; flags win over it.")
@_job_options
def run(image: str, command: tuple[str, ...], *, file: str | None, detach: bool, ticks: bool, **flags: Any) -> int:
    """Buy a machine for one command and watch it.

    IMAGE is cfab-job-base:local on a market of your own (every 'cfab demo' builds it), elsewhere name@sha256:…: a
    provider pulls by digest only, and runs a tag only where that image already is. Returns the program's own exit
    code, 6 when the wallet holds too little, 125 when no machine could be had or kept, and 1 when outputs could not be
    written. Ctrl-C leaves the job running and says how to come back. With --machines the first machine is watched and
    its code returned.

    \b
    cfab run -g 24GB+ -t 30m --max-price 0.40/h cfab-job-base:local -- python3 -c 'print("hello")'
    """
    typed = TypedJob.read(flags, file, image=image, command=command, others=_others(detach=detach, ticks=ticks))
    return _submit(typed, detach=detach, ticks=ticks, mirror=True)


@click.command(cls=Command)
@click.argument("file")
@_job_options
def submit(file: str, detach: bool, ticks: bool, **flags: Any) -> int:
    """Run the job that FILE describes; ``-`` reads it from stdin. Flags win over the file.

    Returns 0 when the job succeeded and its outputs are written, or the code of what went wrong (see 'cfab --help').
    """
    typed = TypedJob.read(flags, file, others=_others(detach=detach, ticks=ticks))
    return _submit(typed, detach=detach, ticks=ticks, mirror=False)


def _others(**switches: bool) -> tuple[str, ...]:
    """What was typed beside the job, to be typed again with it."""
    session = current_session()
    home = ("--home", session.home_option) if session.home_option else ()
    return (*(f"--{name}" for name, on in switches.items() if on), *home)


def _submit(typed: TypedJob, *, detach: bool, ticks: bool, mirror: bool) -> int:
    session, request = current_session(), typed.request()
    client = connect(session)
    answer: dict[str, Any] = client.post("jobs", body=request.to_post())
    job, gang = str(answer["job"]), [str(one) for one in answer.get("jobs", ())]
    if detach:
        if session.as_json:
            session.emit({"job": job, "jobs": gang} if gang else {"job": job})
        else:
            print("\n".join(gang or [job]))
            session.say(f"queued · 'cfab logs -f {short(job)}' follows {'the first' if gang else 'it'}")
        return 0
    if not session.as_json:
        for line in _beginning(job, gang):
            session.say(line)
    final = follow_job(client, job, session, ticks=ticks, propose=partial(typed.proposal, request))
    if not session.as_json and final.get("incomplete"):
        session.say("! outputs are not all where they were wanted; the lines marked '!' above say why")
    if not session.as_json and final.get("has_lease"):
        session.say(f"  next: cfab receipts {short(job)}")
    # Where the first did not begin, none did, and that is told.
    began = final.get("type") == "succeeded" or final.get("code") == "exit"
    others = _of_the_others(client, gang[1:], session, mirror=mirror) if began else 0
    return others or job_exit_code(final, mirror=mirror)


def _beginning(job: str, gang: list[str]) -> list[str]:
    """What is said of a job that is about to be followed."""
    if not gang:
        return [f"job {short(job)} · Ctrl-C detaches, 'cfab cancel {short(job)}' stops"]
    ids = " ".join(map(short, gang))
    return [
        f"jobs {ids} · {len(gang)} machines, all or none",
        f"following {short(job)} · Ctrl-C detaches, 'cfab cancel {ids}' stops all",
    ]


def _of_the_others(client: NodeClient, others: list[str], session: Session, *, mirror: bool) -> int:
    """The exit code for a gang of which one never began, 0 when all did: nobody should take the rest for the whole."""
    for job in others:
        view: dict[str, Any] = client.get("jobs", job)
        error = view.get("error")
        if error and not view.get("started_at"):
            if not session.as_json:
                session.say(f"! {short(job)} ({safe(view.get('name'))}) never began: {safe(error.get('message'))}")
            final = {"type": "failed", "code": error.get("code")}
            return job_exit_code(final, mirror=mirror)
    return 0
