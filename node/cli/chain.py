"""``cfab chain``: where the escrow of this release lies, from its code and terms alone; no chain is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from node.cli.failures import Usage
from node.cli.options import Command, Group, current_session
from node.cli.typed_value import read_value

if TYPE_CHECKING:
    from ledger.create2 import DelayTerms


@click.group(cls=Group)
def chain() -> None:
    """The escrow contract that holds the money."""


@chain.command(cls=Command)
@click.option("--token", metavar="0x…", help="The token that it holds; by default the one under [chain].")
@click.option("--window", metavar="TIME", default="24h", help="How long a payer waits that chose nothing else (24h).")
def address(token: str | None, window: str) -> None:
    """Where the escrow of this release lies for a token, on every chain.

    The address follows from the code that is shipped with this program, the token and the window: whoever deploys it,
    it lies there or nowhere. Nothing else with that address can exist.
    """
    session = current_session()
    view = _view(_token(token), window)
    if session.as_json:
        session.emit(view)
        return
    print(f"escrow   {view['escrow']}")
    print(f"token    {view['token']}")
    print(f"window   {view['window_s']} s, in steps of {view['step_s']} s")
    print(f"factory  {view['factory']}")
    if view["configured"] is False:
        session.say("! [chain] names another escrow: one with another window, of another release, or not ours")


def _token(given: str | None) -> bytes:
    from node.config import load_config
    from node.config_values import read_owner

    if given is not None:
        return read_value("--token", read_owner, given)
    configured = load_config(current_session().home).chain
    if configured is None:
        raise Usage("there is no token under [chain]", fix="name one: cfab chain address --token 0x…")
    return configured.token


def _terms(window: str) -> DelayTerms:
    from ledger.create2 import delay_terms
    from node.quantities import parse_duration_ms

    return delay_terms(parse_duration_ms(window) // 1000)


def _view(token: bytes, window: str) -> dict[str, Any]:
    """As ``shapes.EscrowAddress`` says."""
    from eth_utils.address import to_checksum_address

    from ledger.artifact import load_artifact
    from ledger.create2 import FACTORY, escrow_address
    from node.config import load_config

    terms = read_value("--window", _terms, window)
    escrow = escrow_address(token, terms)
    configured = load_config(current_session().home).chain
    same_token = configured is not None and configured.token == token
    return {
        "escrow": to_checksum_address(escrow),
        "token": to_checksum_address(token),
        "window_s": terms.exit_delay_s,
        "step_s": terms.step_s,
        "factory": to_checksum_address(FACTORY),
        "runtime_sha256": load_artifact("Escrow").runtime_sha256,
        "configured": configured.escrow == escrow if configured is not None and same_token else None,
    }
