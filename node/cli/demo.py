"""``cfab demo``: a whole market on this machine. The work is in ``node.devnet``; this is its switch."""

from __future__ import annotations

import click

from node.cli.options import Command, Session, current_session
from node.cli.terminal import safe


@click.command(cls=Command)
@click.option("--keep", is_flag=True, help="Leave the market running and say how to use it.")
@click.option("--stop", is_flag=True, help="End the market that --keep left running.")
@click.option("--fund", metavar="ACCOUNT", help="Give ACCOUNT test tokens and gas on that market.")
def demo(keep: bool, stop: bool, fund: str | None) -> int:
    """A whole market on this machine: chain, introducer, providers, one job, one settled and checked receipt.

    Needs a Docker Engine. Leaves no process, container or network behind, unless told to keep them.
    """
    if keep + stop + bool(fund) > 1:
        raise click.UsageError("--keep, --stop and --fund exclude each other", click.get_current_context())
    session = current_session()
    if fund:
        return _fund(session, fund)
    if stop:
        return _stop(session)
    from node.devnet.demo import run_demo

    return run_demo(keep=keep, json_output=session.as_json)


def _stop(session: Session) -> int:
    from node.devnet.kept import stop_kept

    kept = stop_kept()
    if session.as_json:
        session.emit({"stopped": kept.folder})
    else:
        session.say(f"the market in {safe(kept.folder)} has ended; nothing of it is left")
    return 0


def _fund(session: Session, account: str) -> int:
    from market.money import format_tokens
    from node.control import money
    from node.devnet.newcomer import GAS_WEI, TOKENS, fund_newcomer

    kept = fund_newcomer(account)
    if session.as_json:
        session.emit({"account": account, "tokens": money(TOKENS), "gas": str(GAS_WEI), "chain": kept.rpc})
    else:
        session.say(f"{safe(account)} has {format_tokens(TOKENS)} more test tokens, and gas, on {safe(kept.rpc)}")
    return 0
