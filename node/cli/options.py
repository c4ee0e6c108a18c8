"""What every command understands: ``--json``, ``--home`` and their like, before or after the command's name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click


class Session:
    """One call of the program: its global options.

    Attributes:
        as_json: data and errors as JSON on stdout.
        quiet: say nothing on stderr but errors.
        debug: show tracebacks.
        home_option: ``--home`` as given, or empty.
        light: look at the market without a node of one's own.
        join: with ``light``: the peers to ask first.
    """

    def __init__(self, *, as_json: bool = False, debug: bool = False) -> None:
        self.as_json = as_json
        self.quiet = False
        self.debug = debug
        self.home_option = ""
        self.light = False
        self.join: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        """The node's folder."""
        from node.home import home_folder

        return home_folder(self.home_option)

    def emit(self, data: Any) -> None:
        """Print data as one JSON document, for ``--json``."""
        print(json.dumps(data, indent=2 if sys.stdout.isatty() else None, ensure_ascii=sys.stdout.isatty()))

    def say(self, text: str) -> None:
        """Talk to the user, on stderr; stdout is for data."""
        if not self.quiet:
            print(text, file=sys.stderr)


def current_session() -> Session:
    """The session of the command being run."""
    session = click.get_current_context().find_root().obj
    assert isinstance(session, Session)
    return session


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    session = ctx.find_root().obj
    if isinstance(session, Session) and value:
        name = {"json": "as_json", "home": "home_option"}.get(str(param.name), str(param.name))
        setattr(session, name, value if name != "join" else (*session.join, *value))


def _shared() -> list[click.Parameter]:
    def flag(*names: str, text: str) -> click.Option:
        return click.Option(names, is_flag=True, expose_value=False, is_eager=True, callback=_remember, help=text)

    return [
        flag("--json", text="Data and errors as JSON on stdout."),
        flag("-q", "--quiet", text="No talk on stderr."),
        flag("--debug", text="Show tracebacks."),
        click.Option(
            ("--home",), metavar="DIR", expose_value=False, is_eager=True, callback=_remember,
            help="The node's folder (CFAB_HOME).",
        ),
    ]  # fmt: skip


def _looking() -> list[click.Parameter]:
    return [
        click.Option(
            ("--light",), is_flag=True, expose_value=False, is_eager=True, callback=_remember,
            help="No node, no keys: ask public peers and check what they say.",
        ),
        click.Option(
            ("--join",), metavar="ADDR", multiple=True, expose_value=False, is_eager=True, callback=_remember,
            help="With --light: a peer to ask first, as in /ip4/203.0.113.7/tcp/4001/p2p/12D3Koo…",
        ),
    ]  # fmt: skip


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Command(click.Command):
    """A command that takes the shared options too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = {**_SETTINGS, **kwargs.get("context_settings", {})}
        super().__init__(*args, **kwargs)
        self.params += _shared()


class LookCommand(Command):
    """A command that only looks at the market, and can do so with ``--light``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _looking()


class Group(click.Group):
    """A group whose commands take the shared options, and which takes them itself."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = {**_SETTINGS, **kwargs.get("context_settings", {})}
        super().__init__(*args, **kwargs)
        self.params += _shared()


class LookGroup(Group):
    """The outermost group, where ``--light`` may stand before the command's name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _looking()
