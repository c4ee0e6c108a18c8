"""Run one command and turn whatever goes wrong into an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from market.errors import FabricError
from node.cli import failures
from node.cli.options import Session
from node.cli.root import root


def run_command(argv: Sequence[str]) -> int:
    """Parse ``argv``, run the command, and return the exit code."""
    ours = argv[: argv.index("--")] if "--" in argv else argv
    session = Session(as_json="--json" in ours, debug="--debug" in ours)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # an old locale must cost a sign, not the command
    try:
        return _run(list(argv), session)
    except KeyboardInterrupt:
        return failures.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left. The interpreter would complain when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failures.BROKEN_PIPE


def _run(argv: list[str], session: Session) -> int:
    try:
        code = root.main(args=argv, prog_name="cfab", standalone_mode=False, obj=session)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx else root.get_help(click.Context(root)))
        return 0
    except click.UsageError as error:
        return failures.report(_usage(error), session)
    except click.Abort:
        return failures.INTERRUPTED
    except click.exceptions.Exit as error:
        return error.exit_code
    except FabricError as error:
        if session.debug:
            traceback.print_exc()
        return failures.report(error, session)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last door: a traceback is no answer to a user
        if session.debug:
            traceback.print_exc()
        return failures.report(_surprise(error), session)


def _usage(error: click.UsageError) -> failures.Usage:
    name = error.ctx.command_path if error.ctx else "cfab"
    fix = f"see '{name} --help'"
    if isinstance(error, click.NoSuchOption):
        if name.endswith(" run"):
            fix = "an option of the program goes after '--', as in: cfab run IMAGE -- CMD --its-option"
        elif error.option_name[1:2].isdigit():
            fix = f"a number here is not negative; {fix}"
        elif error.possibilities:
            fix = f"did you mean {' or '.join(error.possibilities)}?"
        return failures.Usage(f"there is no option '{error.option_name}'", fix=fix)
    return failures.Usage(error.format_message().rstrip("."), fix=fix)


def _surprise(error: Exception) -> FabricError:
    if isinstance(error, OSError) and error.strerror:
        fix = "name one that is there, or make its folder" if isinstance(error, FileNotFoundError) else ""
        return FabricError(error.strerror, code="os_error", where=str(error.filename or ""), fix=fix)
    return FabricError(
        f"cfab made a mistake ({type(error).__name__})", code="internal", fix="run it again with --debug and report it"
    )
