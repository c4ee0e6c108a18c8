"""``cfab wallet``: the account that pays and is paid, what it holds, and what its lanes hold."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import click

from market.errors import FabricError, InvalidRequest
from node.cli.amounts import amount, gas
from node.cli.node_access import connect
from node.cli.options import Command, Group, current_session
from node.cli.terminal import safe, table
from node.cli.wallet_keys import create, import_, wallet_path
from node.cli.wallet_money import deposit, history, payouts, withdraw


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def wallet(ctx: click.Context) -> None:
    """The account that pays and is paid. Without a verb: show it."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


for _verb in (create, import_, deposit, withdraw, history, payouts):
    wallet.add_command(_verb)
_exit = copy(withdraw)
_exit.help = f"Another word for 'withdraw'. {withdraw.help}"
wallet.add_command(_exit, "exit")


@wallet.command(cls=Command)
def show() -> None:
    """Account, balance and lanes; without a running node the account only."""
    session = current_session()
    try:
        view: dict[str, Any] = connect(session).get("wallet")
    except FabricError as error:
        if error.code not in ("node_not_running", "no_chain"):
            raise
        from bootstrap.wallet import wallet_account

        view = {"account": "0x" + wallet_account(need_wallet(wallet_path())).hex()}
    _print(view)


@wallet.command(cls=Command)
def balance() -> None:
    """Tokens, gas, and every lane: what it holds, is signed, reserved and drawn, and when an exit is due."""
    _print(connect().get("wallet"))


@wallet.command("export-address", cls=Command)
def export_address() -> None:
    """The account that tokens and gas are sent to, with its checksum. Needs neither node nor password."""
    from eth_utils.address import to_checksum_address

    from bootstrap.identity import load_session_key
    from bootstrap.wallet import wallet_account
    from ledger.voucher import SessionKey
    from node.home import SESSION_KEY_FILE

    session = current_session()
    account = to_checksum_address(wallet_account(need_wallet(wallet_path())))
    key_file = session.home / SESSION_KEY_FILE
    signer = to_checksum_address(SessionKey(load_session_key(key_file)).address) if key_file.exists() else None
    if session.as_json:
        session.emit({"account": account, "signer": signer})
    else:
        print(account)


def _print(view: dict[str, Any]) -> None:
    session = current_session()
    if session.as_json:
        session.emit(view)
        return
    print(f"account   {safe(view.get('account'))}")
    if "tokens" not in view:
        session.say("  start the node with 'cfab up' to see its balance")
        return
    print(f"balance   {amount(view['tokens'])} tokens")
    print(f"held      {amount(view.get('held'))} tokens in lanes")
    print(f"gas       {gas(view.get('gas'))}")
    if view.get("payout_to"):
        print(f"owner     {safe(view['payout_to'])} gets the earnings ('cfab wallet payouts')")
    if view.get("left_today"):
        print(f"today     {amount(view['left_today'])} tokens may still be spent ('daily_limit')")
    for title, name in (("LANE TO", "lanes"), ("PAID BY", "paid_lanes")):
        if view.get(name):
            print()
            print(_lanes(title, view[name]))


def _lanes(title: str, lanes: list[dict[str, Any]]) -> str:
    rows = [
        (
            lane.get("payee") if title == "LANE TO" else lane.get("payer"),
            amount(lane.get("balance")),
            amount(lane.get("held", "-")),
            amount(lane.get("signed")),
            amount(lane.get("claimed")),
            amount(lane.get("reserved", "-")),
            amount(lane.get("available")),
            lane.get("exit_at") or "-",
        )
        for lane in lanes
    ]
    header = (title, "PUT IN", "HELD", "SIGNED", "CLAIMED", "RESERVED", "AVAILABLE (tokens)", "EXIT DUE")
    return table(header, rows)


def need_wallet(path: Path) -> Path:
    """The path of a wallet that is there.

    Raises:
        InvalidRequest: ``no_wallet``, with the command that makes one.
    """
    if not path.exists():
        fix = "cfab wallet create"
        raise InvalidRequest("there is no wallet here yet", code="no_wallet", fix=fix, where=str(path))
    return path
