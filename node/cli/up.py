"""``cfab up`` and ``cfab down``: the one command that becomes the node itself, and the one that ends it."""

from __future__ import annotations

import logging
import os
import select
import sys
from pathlib import Path
from typing import Any

import click

from market.errors import Unavailable
from node.cli.node_access import connect
from node.cli.options import Command, current_session
from node.cli.passwords import read_password

_STOP_S = 30.0


@click.command(cls=Command)
@click.option("--provide", is_flag=True, help="Sell this machine's GPUs (or CPUs).")
@click.option("--introducer", is_flag=True, help="Help newcomers meet the network.")
@click.option("-c", "--config", "file", metavar="FILE", help="Another config file than the home's.")
@click.option("--name", metavar="NAME", help="What to call this node.")
@click.option("--listen", multiple=True, metavar="ADDR", help="Listen there, such as /ip4/0.0.0.0/tcp/4001.")
@click.option("--join", multiple=True, metavar="ADDR", help="Meet the network through this peer (…/p2p/ID).")
@click.option("--price", metavar="PRICE", help="Ask this per GPU-hour, such as 0.30/h.")
@click.option("--password-file", metavar="FILE", help="The wallet's password; - for stdin (CFAB_PASSWORD_FILE).")
def up(
    *,
    provide: bool,
    introducer: bool,
    file: str | None,
    name: str | None,
    listen: tuple[str, ...],
    join: tuple[str, ...],
    price: str | None,
    password_file: str | None,
) -> None:
    """Start this machine's node and stay with it. Ctrl-C stops it; its containers go on and are taken up again."""
    session = current_session()
    from node.config import load_config
    from node.home import WALLET_FILE, ensure_home

    given: dict[str, Any] = {
        "node.provide": provide or None,
        "node.introducer": introducer or None,
        "node.name": name,
        "node.listen": listen or None,
        "node.introducers": join or None,
        "provider.price": price,
    }
    flags = {key: value for key, value in given.items() if value is not None}
    config = load_config(session.home, file=Path(file) if file else None, flags=flags)
    ensure_home(config.home)
    password = ""
    if config.chain is not None:
        from bootstrap.wallet import wallet_account

        _need_wallet(config.home / WALLET_FILE, wallet_account)
        password = read_password(password_file)
    _log_to_stderr(quiet=session.quiet, debug=session.debug)
    from node.app import run_node

    run_node(config, password)


@click.command(cls=Command)
def down() -> None:
    """Stop the running node. Jobs it sells or buys go on and are taken up at the next start."""
    session = current_session()
    client = connect(session)
    process = client.process_id()
    answer = client.post("shutdown")
    _wait_end(process)
    if session.as_json:
        session.emit({**answer, "stopped": True})
    else:
        session.say("the node has stopped")


def _wait_end(process: int) -> None:
    """So that 'cfab down && cfab up' works: the old node must have let go of its ports and its journal."""
    if process == os.getpid():
        return
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        if not select.select([handle], [], [], _STOP_S)[0]:
            raise Unavailable(
                f"the node is still stopping after {_STOP_S:.0f} s", code="timeout", fix="look at its log"
            )
    finally:
        os.close(handle)


def _need_wallet(path: Path, wallet_account: Any) -> None:
    """Look for the wallet before anybody types a password for nothing."""
    from market.errors import InvalidRequest

    try:
        wallet_account(path)
    except InvalidRequest as error:
        fix = "cfab wallet create" if error.code == "no_wallet" else error.fix
        raise InvalidRequest(error.message, code=error.code, fix=fix, where=error.where) from None


def _log_to_stderr(*, quiet: bool, debug: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING if quiet else logging.INFO,
        format="%(asctime)s %(levelname).1s %(name)s  %(message)s",
        datefmt="%H:%M:%S",
    )
    if not debug:
        # Third parties talk of peers' every hiccup; our own wrapper says what matters of it.
        for name in ("libp2p", "web3", "urllib3", "docker", "multiaddr"):
            logging.getLogger(name).setLevel(logging.ERROR)
