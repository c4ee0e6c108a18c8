"""Where a command that looks at the market gets its data: from the running node, or with ``--light`` from peers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from node.cli.failures import Usage
from node.cli.node_access import connect
from node.cli.options import Session, current_session


class Seen(NamedTuple):
    """What was seen of the market, and with ``--light`` who said so; ``peers`` is None when our own node did."""

    what: str
    data: Any
    peers: list[dict[str, Any]] | None = None


def look(what: str, **query: object) -> Seen:
    """Ask for ``offers``, ``bids``, ``depth`` or ``history``.

    Raises:
        FabricError: no node is running, no peer answered, or the query is wrong.
    """
    session = current_session()
    if session.light:
        from node.cli.light import ask_peers

        return ask_peers(session, what, query)
    forbid_join(session)
    return Seen(what, connect(session).get(what, **query))


def forbid_join(session: Session) -> None:
    """Without ``--light`` nobody is joined: the running node is asked, and it has peers of its own.

    Raises:
        Usage: somebody was named.
    """
    if session.join:
        raise Usage("--join names a peer for --light, and --light is not given", fix="add --light, or leave --join out")


def show(seen: Seen, print_it: Callable[[Any], None]) -> None:
    """Print it, for programs or for people; what peers did wrong is said on stderr."""
    session = current_session()
    if session.as_json:
        session.emit(seen.data if seen.peers is None else {seen.what: seen.data, "peers": seen.peers})
        return
    print_it(seen.data)
    if seen.peers is not None:
        from node.cli.light import tell_of

        tell_of(session, seen.peers)
