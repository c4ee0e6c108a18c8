"""``cfab up`` and ``cfab down``: the one command that becomes the node itself, and the one that ends it."""

from __future__ import annotations

import logging
import os
import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from market.errors import InvalidRequest, Unavailable
from node.cli.client import NodeClient
from node.cli.node_access import connect
from node.cli.options import Command, Session, current_session
from node.cli.passwords import read_password
from node.cli.terminal import mark
from node.home import NODE_KEY_FILE

if TYPE_CHECKING:
    from node.config import NodeConfig

_STOP_S = 30.0


@click.command(cls=Command)
@click.option("--provide", is_flag=True, help="Sell this machine's GPUs (or CPUs).")
@click.option("--introducer", is_flag=True, help="Help newcomers meet the network.")
@click.option("--watch", is_flag=True, help="Redeem for providers that are offline when their payer leaves.")
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
    watch: bool,
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

    switches = {"node.provide": provide, "node.introducer": introducer, "watch.serve": watch}
    values = {"node.name": name, "node.listen": listen, "node.introducers": join, "provider.price": price}
    flags: dict[str, Any] = {
        key: value for key, value in {**switches, **values}.items() if value not in (None, False, ())
    }
    config = load_config(session.home, file=Path(file) if file else None, flags=flags)
    ensure_home(config.home)
    _refuse_second(config.api_socket)
    password = ""
    if config.chain is not None:
        from bootstrap.wallet import wallet_account
        from node.cli.wallet import need_wallet

        wallet_account(need_wallet(config.home / WALLET_FILE))  # before anybody types a password for nothing
        password = read_password(password_file)
    _introduce(session, config)
    _log_to_stderr(quiet=session.quiet, debug=session.debug)
    from node.app import run_node

    run_node(config, password)


@click.command(cls=Command)
def down() -> None:
    """Stop the running node. Jobs it sells or buys go on and are taken up at the next start."""
    session = current_session()
    client = connect(session)
    process = client.process_id()
    try:
        answer = client.post("shutdown")
    except Unavailable as error:
        if error.code != "node_stopped":
            raise
        answer = {"stopping": True}  # it was quicker than its own answer
    _wait_end(process)
    if session.as_json:
        session.emit({**answer, "stopped": True})
    else:
        session.say("the node has stopped")


def _refuse_second(api_socket: Path) -> None:
    """Two nodes on one home would share keys and a journal; said here, before a port in use hides the cause."""
    try:
        process = NodeClient(api_socket).process_id()
    except Unavailable:
        return
    raise InvalidRequest(
        f"a node is already running on this home (process {process})",
        code="already_running",
        fix="'cfab down' stops it, or give this one a home of its own with --home",
        where=str(api_socket.parent),
    )


def _introduce(session: Session, config: NodeConfig) -> None:
    """Where others will find this node, and what keeps them from it."""
    if session.quiet:
        return
    from bootstrap.identity import key_of_seed, load_node_seed, peer_id_of
    from node.cli.market_checks import check_reach

    peer_id = peer_id_of(key_of_seed(load_node_seed(config.home / NODE_KEY_FILE)))
    for address in config.listen:
        session.say(f"{'address':<10} {address}/p2p/{peer_id}")
    if any("/tcp/0" in address or "/0.0.0.0/" in address or "/::/" in address for address in config.listen):
        session.say(f"{'':<10} with the real host and port, once it is up: cfab status")
    for check in check_reach(config):
        session.say(f"{mark('warn')} {check['name']}: {check['detail']}\n  fix: {check['fix']}")


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
