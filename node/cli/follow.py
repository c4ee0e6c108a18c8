"""Stay with a job until it ends: its events and its output at once, each on a connection of its own."""

from __future__ import annotations

import base64
import json
import sys
import threading
from typing import Any

from market.errors import FabricError, Unavailable
from node.cli import failures
from node.cli.auction_lines import Propose
from node.cli.client import NodeClient
from node.cli.options import Session
from node.cli.progress import Progress
from node.cli.terminal import short

_LAST_OUTPUT_S = 5.0
"""How long an ended job's last lines may take to arrive before the story goes on without them."""


def follow_job(
    client: NodeClient, job: str, session: Session, *, ticks: bool = False, propose: Propose | None = None
) -> dict[str, Any]:
    """Show a job until it is over and return its terminal event, with ``exit_code``, whether it is ``incomplete``
    (outputs are missing or could not be written) and whether it ``has_lease``. Ctrl-C detaches and ends the program.

    Raises:
        Unavailable: the node stopped; the job may go on.
        KeyboardInterrupt: after saying how to come back.
    """
    with Progress(quiet=session.quiet or session.as_json, ticks=ticks, propose=propose) as progress:
        follower = _Follower(client, job, session, progress)
        try:
            return follower.run()
        except KeyboardInterrupt:
            if not session.as_json:
                name = short(job)
                progress.say(
                    f"detached, job {name} goes on · 'cfab logs -f {name}' returns, 'cfab cancel {name}' stops it"
                )
            raise


def job_exit_code(final: dict[str, Any], *, mirror: bool) -> int:
    """The exit code for a job that ended as ``final`` says.

    Args:
        final: what :func:`follow_job` returned.
        mirror: return the program's own code, and 125 for every failure of the fabric but too little money.
    """
    if final.get("type") == "succeeded":
        # The program did well, and yet what was paid for is not where it was wanted.
        return failures.FAILED if final.get("incomplete") else 0
    if mirror and final.get("code") == "exit":
        code = int(final.get("exit_code", failures.FAILED))
        return code if 0 < code < 256 else failures.FAILED
    code = failures.FAILED if final.get("code") == "exit" else failures.exit_code(str(final.get("code", "")))
    return failures.FABRIC_FAILED if mirror and code != failures.NOT_ENOUGH_FUNDS else code


class _Follower:
    def __init__(self, client: NodeClient, job: str, session: Session, progress: Progress) -> None:
        self.client = client
        self.job = job
        self.session = session
        self.progress = progress
        self.printing = threading.Lock()
        self.output: threading.Thread | None = None
        self.exit_code = -1

    def run(self) -> dict[str, Any]:
        with self.client.stream("jobs", self.job, "events") as events:
            for event in events:
                kind = event.get("type")
                if kind == "running":
                    self.start_output()
                elif kind == "exited":
                    self.exit_code = int(event.get("exit_code", -1))
                if kind in ("exited", "succeeded", "failed", "cancelled"):
                    self.finish_output()
                self.show(event)
                if kind in ("succeeded", "failed", "cancelled"):
                    story = self.progress.story
                    seen = {"incomplete": story.incomplete, "has_lease": story.has_lease}
                    return {"exit_code": self.exit_code, **seen, **event}
        raise Unavailable(
            "the node stopped; what it has begun goes on when it is back",
            code="node_stopped",
            fix=f"start it with 'cfab up', then 'cfab logs -f {short(self.job)}'",
        )

    def show(self, event: dict[str, Any]) -> None:
        if self.session.as_json:
            self.print_json(event)
        self.progress.event(event)

    def print_json(self, item: dict[str, Any]) -> None:
        with self.printing:
            sys.stdout.write(json.dumps(item) + "\n")
            sys.stdout.flush()

    def start_output(self) -> None:
        if self.output is None:
            self.output = threading.Thread(target=self.copy_output, daemon=True)
            self.output.start()

    def finish_output(self) -> None:
        if self.output is not None:
            self.output.join(_LAST_OUTPUT_S)

    def copy_output(self) -> None:
        try:
            with self.client.stream("jobs", self.job, "logs", follow=True) as pieces:
                for piece in pieces:
                    if self.session.as_json:
                        self.print_json({"type": "log", **piece})
                    else:
                        self.progress.output(base64.b64decode(piece.get("data", "")))
        except FabricError:
            # The event stream meets the same end and tells it; two voices would only confuse.
            return
        except BrokenPipeError:
            return
