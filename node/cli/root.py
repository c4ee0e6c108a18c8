"""The list of commands. A command's module is imported when the command is called, not to print this list."""

from __future__ import annotations

import difflib
import importlib

import click

from node.cli.failures import Usage
from node.cli.options import LookGroup, Session

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "up": ("node.cli.up:up", "Start this machine's node."),
        "down": ("node.cli.up:down", "Stop the running node; its jobs go on."),
        "status": ("node.cli.status:status", "What the running node is and sees."),
        "demo": ("node.cli.demo:demo", "A whole market on this machine, from offer to settled receipt."),
        "doctor": ("node.cli.doctor:doctor", "Check what a node needs, and say how to mend it."),
    },
    "Jobs": {
        "run": ("node.cli.run:run", "Buy a machine for one command and watch it."),
        "submit": ("node.cli.run:submit", "Run the job that a file describes."),
        "plan": ("node.cli.plan:plan", "What would happen to a job now, without buying."),
        "explain": ("node.cli.explain:explain", "Why a job went to its provider, or to nobody."),
        "ps": ("node.cli.jobs:ps", "List jobs."),
        "show": ("node.cli.jobs:show", "One job in full."),
        "logs": ("node.cli.logs:logs", "A job's output."),
        "cancel": ("node.cli.jobs:cancel", "Stop a job."),
        "job": ("node.cli.job:job", "Write and check job files."),
    },
    "Market": {
        "offers": ("node.cli.offers:offers", "List live offers, cheapest first."),
        "depth": ("node.cli.depth:depth", "How much is free at which price."),
        "whatif": ("node.cli.whatif:whatif", "What a job would meet on the market now."),
        "history": ("node.cli.history:history", "What a GPU model cost over the last days."),
        "bids": ("node.cli.bids:bids", "List live bids, newest first."),
        "verify-award": ("node.cli.verify_award:verify_award", "Hold the auction behind an award again."),
        "simulate": ("node.cli.simulate:simulate", "A made-up market: who is served, when, at what price."),
        "provider": ("node.cli.provider:provider", "Pause, resume and watch this machine's offer."),
    },
    "Money": {
        "wallet": ("node.cli.wallet:wallet", "The account that pays and is paid."),
        "chain": ("node.cli.chain:chain", "Where the contract lies that holds the money."),
        "stake": ("node.cli.stake:stake", "What a provider puts up against lying."),
        "receipts": ("node.cli.receipts:receipts", "What was used, paid and returned."),
    },
    "Rest": {
        "config": ("node.cli.settings:config", "Show the configuration and where each value came from."),
        "version": ("node.cli.version:version", "Show the version."),
    },
}
_PLACES = {name: place for section in COMMANDS.values() for name, (place, _) in section.items()}
_ALIASES = {"ls": "ps", "stop": "cancel", "start": "up"}
LIGHT = ("offers", "depth", "whatif", "history", "bids", "verify-award", "version")
"""The commands that need no node of one's own."""


class Root(LookGroup):
    """The ``cfab`` command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _PLACES.get(_ALIASES.get(cmd_name, cmd_name))
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        session = ctx.find_root().obj
        if isinstance(session, Session) and session.light and name in _PLACES and name not in LIGHT:
            fix = f"without --light it asks the running node; with it: {', '.join(LIGHT)}"
            raise Usage(f"'cfab {name}' needs a node of your own, and --light is to do without one", fix=fix)
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, [*_PLACES, *_ALIASES], 1, 0.6)
            raise Usage(
                f"there is no command '{name}'", fix=f"did you mean 'cfab {near[0]}'?" if near else "see 'cfab --help'"
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


root = Root(
    name="cfab",
    help="""Buy and sell GPU time, peer to peer.

    \b
    cfab demo                                     see all of it work on this machine
    cfab up                                       start a node
    cfab run -g 24GB+ -t 30m --max-price 0.40/h cfab-job-base:local -- python3 -c 'print("hello")'
    """,
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 bad job file, 4 not found, 5 no match, 6 not enough funds, "
    "7 locked or refused, 8 timed out, 9 provider lost, 10 no node running, 130 Ctrl-C; 'run' returns the program's "
    "own code, 6 or 125.",
)
