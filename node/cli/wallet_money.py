"""``cfab wallet deposit``, ``withdraw``, ``history`` and ``payouts``: money in and out, asked of the running node."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import click

from market.errors import InvalidRequest
from market.money import parse_tokens
from node.cli.amounts import amount, units
from node.cli.failures import Usage
from node.cli.node_access import connect
from node.cli.options import Command, current_session
from node.cli.terminal import safe, short, table
from node.cli.typed_value import read_value
from node.quantities import format_duration

CHAIN_PATIENCE_S = 600.0
"""Some chains take minutes for a block that counts. Whoever stops waiting loses nothing: the node goes on."""
_WEI_PER_COIN = 10**18
_WORDS = {
    "exit_started": "exit begun",
    "stake_add": "stake added",
    "stake_leave": "stake leaving",
    "stake_take": "stake taken",
    "stake_slash": "stake slashed",
}
"""Kinds of the history as people read them; programs get the kind itself."""


@click.command(cls=Command)
@click.argument("provider")
@click.argument("tokens", metavar="AMOUNT")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--print", "only_print", is_flag=True, help="Send nothing: show the transactions for another wallet.")
@click.option("--from", "sender", metavar="ACCOUNT", help="With --print: the account that will send them.")
def deposit(provider: str, tokens: str, yes: bool, only_print: bool, sender: str | None) -> None:
    """Put AMOUNT tokens into the lane to PROVIDER, and leave them there for jobs to come.

    \b
    cfab wallet deposit 3f9a 2.5                       what it does and costs, then a question
    cfab wallet deposit 3f9a 2.5 --print --from 0x…    for a hardware wallet: to, data, value, chain id, gas

    PROVIDER is a key of 'cfab offers --json', the start of one, or the account 0x… that is paid.
    """
    session = current_session()
    if sender and not only_print:
        raise Usage("--from is for --print: the node itself sends from its own account")
    read_value("AMOUNT", parse_tokens, tokens)
    client = connect(session)
    plan = client.get("wallet", "lanes", provider, "deposit", amount=tokens, sender=sender)
    if only_print:
        _show_ready(plan, sender)
        return
    if not session.as_json:
        _show_plan(plan)
    if units(plan.get("amount")) > units(plan.get("tokens")):
        raise InvalidRequest(
            "the wallet holds fewer tokens than that", code="tokens_short", fix="send it more, or deposit less"
        )
    confirm(yes, "deposit now?")
    done = client.post("wallet", "lanes", plan["payee"], "deposit", body={"amount": tokens}, timeout_s=CHAIN_PATIENCE_S)
    if session.as_json:
        session.emit(done)
        return
    print(f"deposited {amount(done.get('amount'))} tokens · transaction {safe(done.get('transaction'))}")
    session.say(f"it stays there until 'cfab wallet withdraw {short(provider, 42)}'")


@click.command(cls=Command)
@click.argument("provider")
@click.option("--alone", is_flag=True, help="Do not ask the provider: start our own exit at once.")
def withdraw(provider: str, alone: bool) -> None:
    """Take the rest out of the lane to PROVIDER.

    With the provider's consent it is back at once. Without it our exit begins, and the same command finishes it when
    the lane's window is over.
    """
    session = current_session()
    answer = connect(session).post(
        "wallet", "lanes", provider, "withdraw", body={"alone": alone}, timeout_s=CHAIN_PATIENCE_S
    )
    if session.as_json:
        session.emit(answer)
    elif answer.get("finished"):
        how = "closed together with the provider" if answer.get("together") else "the exit is over"
        print(
            f"{how}: {amount(answer.get('returned'))} tokens are back · transaction {safe(answer.get('transaction'))}"
        )
    else:
        print(f"our exit runs; the money can be taken from {safe(answer.get('exit_at'))} on")


@click.command(cls=Command)
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values on stdout.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, metavar="N", help="The newest N lines (50).")
def history(as_csv: bool, limit: int) -> None:
    """Deposits, sums of vouchers, redemptions, exits and payouts, newest first, with their transactions."""
    session = current_session()
    one_form_only(session.as_json, as_csv)
    lines: list[dict[str, Any]] = connect(session).get("wallet", "history")[:limit]
    if session.as_json:
        session.emit(lines)
    elif as_csv:
        fields = ("time", "kind", "side", "account", "lease", "amount", "returned", "transaction", "block", "ok")
        write_csv(fields, ([_plain(line.get(name)) for name in fields] for line in lines))
    elif not lines:
        session.say("nothing has happened yet")
    else:
        rows = [
            (
                str(line.get("time"))[:19].replace("T", " "),
                _word(line.get("kind")),
                short(line.get("account"), 10),
                amount(line["amount"]) if line.get("amount") else "-",
                amount(line["returned"]) if line.get("returned") else "-",
                _how(line.get("ok")),
                short(line.get("transaction"), 14),
            )
            for line in lines
        ]
        print(table(("TIME (UTC)", "WHAT", "WITH", "AMOUNT (tokens)", "RETURNED", "", "TRANSACTION"), rows))


@click.command(cls=Command)
def payouts() -> None:
    """Where earnings are sent, how much of them waits, and what was sent."""
    session = current_session()
    view = connect(session).get("wallet", "payouts")
    if session.as_json:
        session.emit(view)
        return
    if view.get("to") is None:
        session.say("earnings stay in the node's own account: set address under [payout] in its config")
    else:
        print(f"to        {safe(view.get('to'))}")
        waits = amount(view["waiting"]) if view.get("waiting") else "(the chain does not answer)"
        print(f"waiting   {waits} tokens, sent from {amount(view.get('threshold'))} on")
        if view.get("every") and view.get("next_at"):
            print(f"next      {safe(view.get('next_at'))}")
    print(f"paid out  {amount(view.get('paid_out'))} tokens")
    rows = [
        (
            one.get("number"),
            str(one.get("time"))[:19].replace("T", " "),
            short(one.get("to"), 10),
            amount(one.get("amount")),
            _how(one.get("ok")),
            short(one.get("transaction"), 14),
        )
        for one in view.get("payouts") or []
    ]
    if rows:
        print(table(("PAYOUT", "TIME (UTC)", "TO", "AMOUNT (tokens)", "", "TRANSACTION"), rows))


def one_form_only(as_json: bool, as_csv: bool) -> None:
    """Refuse two forms at once: whoever reads one would get the other.

    Raises:
        Usage: both were asked for.
    """
    if as_json and as_csv:
        raise Usage("--csv and --json exclude each other", fix="leave one of them out")


def write_csv(fields: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout as programs read it. A cell never begins like a formula: spreadsheets run those."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(fields)
    for row in rows:
        writer.writerow([f"'{cell}" if str(cell)[:1] in ("=", "+", "-", "@") else cell for cell in row])


def format_coin(wei: object) -> str:
    """Wei as the chain's coin, to nine digits behind the point."""
    try:
        return f"{Decimal(str(wei)) / _WEI_PER_COIN:.9f}"
    except ArithmeticError:
        return safe(wei)


def confirm(yes: bool, question: str) -> None:
    """Ask before money moves.

    Raises:
        Usage: nobody can be asked.
        InvalidRequest: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Usage("this moves money, and nobody can be asked", fix="look at it, then add --yes")
    if not click.confirm(question, err=True):
        raise InvalidRequest("nothing was done", code="refused")


def _show_plan(plan: dict[str, Any]) -> None:
    session = current_session()
    session.say(
        f"to        {safe(plan.get('payee'))}" + (f" ({short(plan['provider'])})" if plan.get("provider") else "")
    )
    session.say(f"amount    {amount(plan.get('amount'))} tokens; the wallet holds {amount(plan.get('tokens'))}")
    session.say(f"lane      {amount(plan.get('lane_before'))} tokens now, {amount(plan.get('lane_after'))} after")
    way = {"approval": "two transactions, an approval first", "permit": "one transaction, with a permit inside"}
    how = way.get(str(plan.get("way")), "one transaction")
    cost, have = format_coin(plan.get("gas_cost")), format_coin(plan.get("gas"))
    session.say(f"gas       at most {cost} of the chain's coin, of {have}; {how}")
    wait = format_duration(int(plan.get("exit_delay_s") or 0) * 1000)
    session.say(f"back      at once when the provider agrees, else after {wait}")


def _show_ready(plan: dict[str, Any], sender: str | None) -> None:
    session = current_session()
    if session.as_json:
        session.emit(plan)
        return
    for number, call in enumerate(plan.get("transactions") or [], 1):
        print(f"{number}. {safe(call.get('what'))}")
        for name in ("to", "data", "value", "chain_id", "gas"):
            print(f"   {name:<9} {safe(call.get(name))}")
    # Without an approval among them they rest on one that only this account has given.
    who = safe(sender) if sender else "any account that holds the tokens"
    session.say(f"send what is above, in this order, from {who}; what is not used comes back to")
    session.say(f"{safe(plan.get('payer'))}, this node's account")


def _word(kind: object) -> str:
    return _WORDS.get(str(kind)) or str(kind).replace("_", " ")


def _how(ok: object) -> str:
    return "not known yet" if ok is None else "" if ok else "failed"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return value.get("amount", "")
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value
