"""``cfab version``."""

from __future__ import annotations

import platform

import click

from node.cli.options import Command, current_session


@click.command(cls=Command)
def version() -> None:
    """Show the version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        own = installed("computefabric")
    except PackageNotFoundError:
        own = "unknown (not installed)"
    session = current_session()
    if session.as_json:
        session.emit({"version": own, "python": platform.python_version()})
    else:
        print(f"cfab {own}, Python {platform.python_version()}")
