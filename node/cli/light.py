"""``--light``: look at the market with no node, keys, wallet or home of one's own, and say what the peers did.

Only here does the command line load the network library; every other command stays quick.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from node.cli.failures import Usage
from node.cli.look import Seen
from node.cli.terminal import mark, safe, short

if TYPE_CHECKING:
    from node.cli.options import Session
    from node.job_file import JobRequest
    from node.light_session import Look


def ask_peers(session: Session, what: str, query: dict[str, Any]) -> Seen:
    """Ask public peers instead of the running node.

    Raises:
        FabricError: no peer is known or answers, or the query is wrong.
    """
    from node.light_session import look_at_market

    look: Look = look_at_market(introducers_of(session), what, query)
    tell_of_clock(look)
    return Seen(what, look.data, [dict(peer) for peer in look.peers])


def ask_peers_what_if(session: Session, request: JobRequest) -> Seen:
    """What a job would meet, by the offers that public peers show.

    Raises:
        FabricError: as :func:`ask_peers`, or an input of the job is not there.
    """
    from node.light_session import ask_what_if

    look: Look = ask_what_if(introducers_of(session), request)
    tell_of_clock(look)
    return Seen("whatif", look.data, [dict(peer) for peer in look.peers])


def introducers_of(session: Session) -> tuple[str, ...]:
    """The peers to begin with: those of ``--join``, else of ``CFAB_NODE_INTRODUCERS``, else of the config file, if
    there is one. Also quietens the libraries, whose warnings are not about what the user asked for.

    Raises:
        Usage: nobody is named anywhere.
        ConfigError: the config cannot be read.
    """
    if not session.debug:
        logging.getLogger().addHandler(logging.NullHandler())  # without any, warnings would go to stderr
    if session.join:
        return session.join
    from node.config import load_config
    from node.config_values import read_introducers

    if named := os.environ.get("CFAB_NODE_INTRODUCERS"):
        return read_introducers(named)
    if found := load_config(session.home).introducers:
        return found
    raise Usage(
        "nobody to ask: --light needs the address of one peer at least",
        fix="--join /ip4/203.0.113.7/tcp/4001/p2p/12D3Koo…, or set CFAB_NODE_INTRODUCERS",
    )


def tell_of(session: Session, peers: list[dict[str, Any]]) -> None:
    """Say who was asked, and by name who hides, forges or shows what is over. Always on stderr, even when quiet: it
    says how much of what was printed can be relied on."""
    answered = [peer for peer in peers if peer["answered"]]
    session.say(
        f"asked {len(peers)} peer{'' if len(peers) == 1 else 's'}, {len(answered)} answered;"
        " every signature was checked here" + (", and their books against each other" if len(answered) > 1 else "")
    )
    if len(answered) == 1:
        _warn("only one peer answered: what it hides, or shows too late, cannot be told")
    if len(answered) == 2 and any(peer["hides"] or peer["stale"] for peer in answered):
        _warn("only two peers answered: the one that shows more may have kept it from the other")
    for peer in answered:
        for line in _misdeeds(peer):
            _warn(f"{_called(peer)} {line}")
        if not peer["complete"]:
            _warn(f"{_called(peer)} did not show everything")


def tell_of_clock(look: Look) -> None:
    """Say that our own clock may be the one that is wrong."""
    if look.clock_is_doubtful:
        _warn("most offers are over or dated ahead by this machine's clock; is it right?")


def _misdeeds(peer: dict[str, Any]) -> list[str]:
    lines = []
    if forged := sum(peer["forges"].values()):
        lines.append(f"forges: {forged} of its records bear no valid signature ({', '.join(sorted(peer['forges']))})")
    if hidden := peer["hides"]:
        lines.append(f"hides {_offers(hidden)} that others show: {_names(hidden)}")
    if stale := peer["stale"]:
        lines.append(f"shows {_offers(stale)} as it was, not as it is: {_names(stale)}")
    return lines


def _offers(offers: list[dict[str, Any]]) -> str:
    return f"{len(offers)} offer{'' if len(offers) == 1 else 's'}"


def _names(offers: list[dict[str, Any]]) -> str:
    shown = [f"{short(offer['provider'])}/{safe(offer['machine'])}" for offer in offers[:3]]
    return ", ".join(shown) + (", …" if len(offers) > 3 else "")


def _called(peer: dict[str, Any]) -> str:
    place = safe(peer["addresses"][0].partition("/p2p/")[0]) if peer["addresses"] else ""
    return f"peer {short(peer['peer_id'], 16)} {f'({place}) ' if place else ''}".rstrip()


def _warn(text: str) -> None:
    print(f"{mark('warn')} {text}", file=sys.stderr)
