"""``cfab doctor``: what this machine and this node need, each line with its remedy. Works without a running node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from market.errors import FabricError
from node.cli.node_access import connect
from node.cli.options import Command, current_session
from node.cli.terminal import mark, safe

if TYPE_CHECKING:
    from node.control import Check


@click.command(cls=Command)
@click.option("--provide", is_flag=True, help="Check what a provider needs too.")
@click.option("--listen", multiple=True, metavar="ADDR", help="Check this address, as 'cfab up --listen' would use it.")
@click.option("--join", multiple=True, metavar="ADDR", help="As 'cfab up --join'.")
def doctor(provide: bool, listen: tuple[str, ...], join: tuple[str, ...]) -> int:
    """Check what a node needs, and say how to mend it. Exit code 1 when something it cannot do without is missing."""
    session = current_session()
    from node.cli import machine_checks

    given: dict[str, Any] = {"node.provide": provide, "node.listen": listen, "node.introducers": join}
    flags = {key: value for key, value in given.items() if value}
    checks = machine_checks.run_checks(session.home, node_checks=_from_node(), flags=flags)
    if session.as_json:
        session.emit(checks)
    else:
        for check in checks:
            _print(check)
    return 0 if all(check["ok"] for check in checks) else 1


def _from_node() -> list[Check] | None:
    """What a running node says of itself; None when none runs."""
    try:
        found: list[Any] = connect().get("doctor")
    except FabricError as error:
        if error.code == "node_not_running":
            return None
        return [{"name": "node", "ok": False, "warning": False, "detail": error.message, "fix": error.fix}]
    return found


def _print(check: Check) -> None:
    import sys

    kind = "fail" if not check["ok"] else "warn" if check["warning"] else "ok"
    print(f"{mark(kind, stream=sys.stdout)} {safe(check['name']):<11} {safe(check['detail'])}")
    if kind != "ok" and check["fix"]:
        print(f"  {'fix:':<11} {safe(check['fix'])}")
