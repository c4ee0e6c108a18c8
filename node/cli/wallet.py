"""``cfab wallet``: make or bring the account that pays and is paid; see it, and take money out of lanes."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from market.errors import FabricError, InvalidRequest
from node.cli.amounts import amount
from node.cli.node_access import connect
from node.cli.options import Command, Group, current_session
from node.cli.passwords import read_hidden, read_password
from node.cli.terminal import safe, short, table

_WEI_PER_ETHER = 10**18

_password_file = click.option("--password-file", metavar="FILE", help="Its password; - for stdin (CFAB_PASSWORD_FILE).")


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def wallet(ctx: click.Context) -> None:
    """The account that pays and is paid. Without a verb: show it."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@wallet.command(cls=Command)
@_password_file
def create(password_file: str | None) -> None:
    """Make a new account, encrypted with a password that cannot be recovered."""
    from bootstrap.wallet import create_wallet

    path = _wallet_path(make_home=True)
    _refuse_existing(path)
    _created(path, create_wallet(path, read_password(password_file, twice=True)))


@wallet.command("import", cls=Command)
@click.option("--key-file", metavar="FILE", help="A file with the private key in hex; without it you are asked.")
@_password_file
def import_(key_file: str | None, password_file: str | None) -> None:
    """Bring an account by its private key, asked for or read from a file, never given as a flag."""
    from bootstrap.wallet import create_wallet

    path = _wallet_path(make_home=True)
    _refuse_existing(path)
    text = _read_key_file(key_file) if key_file else read_hidden("Private key (hex, hidden): ", "--key-file")
    try:
        key = bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        raise InvalidRequest("that is not a private key", code="bad_key", fix="it has 64 hex digits") from None
    _created(path, create_wallet(path, read_password(password_file, twice=True), private_key=key))


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

        view = {"account": "0x" + wallet_account(need_wallet(_wallet_path())).hex()}
    if session.as_json:
        session.emit(view)
        return
    print(f"account   {safe(view.get('account'))}")
    if "tokens" not in view:
        session.say("  start the node with 'cfab up' to see its balance")
        return
    print(f"balance   {amount(view['tokens'])} tokens")
    print(f"held      {amount(view.get('held'))} tokens in lanes")
    print(f"gas       {format_gas(view.get('gas'))}")
    if view.get("lanes"):
        rows = [
            (
                lane.get("payee"),
                amount(lane.get("balance")),
                amount(lane.get("claimed")),
                amount(lane.get("signed")),
                amount(lane.get("available")),
                lane.get("exit_at") or "-",
            )
            for lane in view["lanes"]
        ]
        print(table(("LANE TO", "PUT IN", "CLAIMED", "SIGNED", "AVAILABLE (tokens)", "EXIT AT"), rows))


@wallet.command("exit", cls=Command)
@click.argument("payee")
def exit_lane(payee: str) -> None:
    """Take unspent money out of the lane to PAYEE: once to start, and again when the waiting time is over."""
    session = current_session()
    answer = connect(session).post("wallet", "lanes", payee, "exit")
    if session.as_json:
        session.emit(answer)
    elif answer.get("finished"):
        print(f"the money is back · transaction {safe(answer.get('transaction'))}")
    else:
        print(f"begun; run it again after {safe(answer.get('exit_at'))}")


def need_wallet(path: Path) -> Path:
    """The path of a wallet that is there.

    Raises:
        InvalidRequest: ``no_wallet``, with the command that makes one.
    """
    if not path.exists():
        fix = "cfab wallet create"
        raise InvalidRequest("there is no wallet here yet", code="no_wallet", fix=fix, where=str(path))
    return path


def format_gas(wei: object) -> str:
    """Gas money for people, in the chain's own coin: as many decimals as it takes to see that there is some."""
    try:
        ether = Decimal(str(wei)) / _WEI_PER_ETHER
    except ArithmeticError:
        return safe(wei)
    digits = f"{ether:.6f}" if ether >= Decimal("0.000001") or not ether else "less than 0.000001"
    return f"{digits} of the chain's coin (ether)"


def _created(path: Path, account: bytes) -> None:
    session = current_session()
    if session.as_json:
        session.emit({"account": "0x" + account.hex(), "file": str(path)})
        return
    print("0x" + account.hex())
    session.say(f"wallet {short(account.hex())} is in {path}; keep a copy of the file and remember the password")


def _wallet_path(*, make_home: bool = False) -> Path:
    from node.home import WALLET_FILE, ensure_home

    home = current_session().home
    if make_home:
        ensure_home(home)
    return home / WALLET_FILE


def _refuse_existing(path: Path) -> None:
    """Before anybody types a password for nothing; ``create_wallet`` is what really never overwrites."""
    if path.exists():
        raise InvalidRequest(
            "a wallet is already here and is never overwritten",
            code="wallet_exists",
            fix="use it, or choose another home with --home",
            where=str(path),
        )


def _read_key_file(name: str) -> str:
    from bootstrap.secret_file import read_secret

    try:
        return read_secret(Path(name), limit=256).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("that is not a private key", code="bad_key", fix="it has 64 hex digits") from None
    except FileNotFoundError:
        raise InvalidRequest("there is no such key file", code="not_found", where=name) from None
    except OSError as error:
        raise InvalidRequest(
            f"the key file cannot be read: {error.strerror}", code="unreadable_file", where=name
        ) from None
