"""``cfab demo``: a whole market on this machine. The work is in ``node.devnet``; this is its switch."""

from __future__ import annotations

import click

from node.cli.options import Command, current_session
from node.cli.terminal import safe


@click.command(cls=Command)
@click.option("--keep", is_flag=True, help="Leave the market running and say how to use it.")
@click.option("--stop", is_flag=True, help="End the market that --keep left running.")
def demo(keep: bool, stop: bool) -> int:
    """A whole market on this machine: chain, introducer, providers, one job, one settled and checked receipt.

    Needs a Docker Engine. Leaves no process, container or network behind, unless told to keep them.
    """
    session = current_session()
    if stop:
        from node.devnet.kept import stop_kept

        kept = stop_kept()
        if session.as_json:
            session.emit({"stopped": kept.folder})
        else:
            session.say(f"the market in {safe(kept.folder)} has ended; nothing of it is left")
        return 0
    from node.devnet.demo import run_demo

    return run_demo(keep=keep, json_output=session.as_json)
