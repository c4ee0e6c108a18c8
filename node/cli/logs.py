"""``cfab logs``: a job's output, raw into a pipe, harmless on a terminal."""

from __future__ import annotations

import base64
import json
import sys

import click

from node.cli.node_access import connect, resolve_job
from node.cli.options import Command, current_session
from node.cli.terminal import JobOutput, short


@click.command(cls=Command)
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Wait for more until the job ends.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Start at this byte.")
def logs(job: str, follow: bool, offset: int) -> None:
    """A job's output. JOB is an id, the start of one, a name, or - for the newest.

    With --json each piece is one line with its byte offset and its bytes as base64.
    """
    session = current_session()
    client = connect(session)
    name = resolve_job(client, job)
    output = JobOutput()
    try:
        with client.stream("jobs", name, "logs", offset=offset, follow=follow) as pieces:
            for piece in pieces:
                if session.as_json:
                    sys.stdout.write(json.dumps({"type": "log", **piece}) + "\n")
                    sys.stdout.flush()
                else:
                    output.write(base64.b64decode(piece.get("data", "")))
    except KeyboardInterrupt:
        session.say(f"\ndetached · 'cfab logs -f {short(name)}' returns, 'cfab cancel {short(name)}' stops the job")
        raise
