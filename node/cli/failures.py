"""Exit codes, and the one place that turns an error into words or JSON. Codes are a contract with scripts.

0 done · 1 failed · 2 usage · 3 bad job file · 4 not found · 5 no match · 6 not enough funds · 7 locked or refused ·
8 timed out · 9 provider lost · 10 no node running · 130 Ctrl-C. ``run`` returns the program's own code, and 125 when
the fabric failed (Docker's rule), but 6 when the wallet holds too little.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

from market.errors import FabricError, InvalidRequest, Unavailable
from node.cli.terminal import safe

if TYPE_CHECKING:
    from node.cli.options import Session

FAILED = 1
USAGE = 2
NOT_ENOUGH_FUNDS = 6
FABRIC_FAILED = 125
INTERRUPTED = 130
BROKEN_PIPE = 141

_BY_CODE = {
    "usage": 2,
    "bad_config": 2,
    "bad_query": 2,
    "bad_duration": 2,
    "bad_address": 2,
    "introducer_without_peer": 2,
    "invalid_job_file": 3,
    "not_found": 4,
    "no_wallet": 4,
    "no_match": 5,
    "insufficient_funds": NOT_ENOUGH_FUNDS,
    "not_funded": NOT_ENOUGH_FUNDS,
    "tokens_short": NOT_ENOUGH_FUNDS,
    "gas_short": NOT_ENOUGH_FUNDS,
    "spending_limit": NOT_ENOUGH_FUNDS,
    "wrong_password": 7,
    "wallet_locked": 7,
    "wallet_exists": 7,
    "key_file_open": 7,
    "home_open": 7,
    "not_permitted": 7,
    "refused": 7,
    "timeout": 8,
    "time_limit": 8,
    "lost": 9,
    "unpaid": 9,
    "drained": 9,
    "provider_lost": 9,
    "gang_incomplete": 9,
    "node_not_running": 10,
    "node_stopped": 10,
}


_COMMAND = re.compile(
    r"cfab (?:up|down|status|doctor|ps|show|logs|offers|depth|history|bids|provider|wallet|stake|receipts|config)"
    r"(?: (?!--help)[\w -]+)?"
)
"""A command in a fix that works on a home, without ``--help``, whose help is the same everywhere."""


class Usage(InvalidRequest):
    """The command line itself is wrong."""

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message, code="usage", fix=fix)


def exit_code(code: str) -> int:
    """The exit code for an error's code."""
    return _BY_CODE.get(code, FAILED)


def report(error: FabricError, session: Session) -> int:
    """Print an error, as text on stderr or as JSON on stdout, and return the exit code."""
    fix = with_home(error.fix, session)
    # Job file problems are a class of a package that most commands never load: asked by shape, not by type.
    problems = getattr(error, "problems", None)
    if session.as_json:
        body: dict[str, Any] = {
            "code": error.code,
            "message": error.message,
            "fix": fix,
            "where": error.where,
            "retryable": bool(getattr(error, "retryable", isinstance(error, Unavailable))),
        }
        if problems is not None:
            body["problems"] = [_problem(problem) for problem in problems]
        print(json.dumps({"error": body}))
    elif problems is not None:
        from node.job_file.problem import InvalidJob, render

        assert isinstance(error, InvalidJob)
        print(safe(render(error), keep_lines=True), file=sys.stderr)
    else:
        place = f"{error.where}: " if error.where else ""
        print(f"error: {safe(place + error.message)}", file=sys.stderr)
        if fix:
            print(f"  fix: {safe(fix)}", file=sys.stderr)
    typed_wrong = getattr(error, "from_flags", False) or getattr(error, "is_setting", False)
    return USAGE if typed_wrong else exit_code(error.code)


def with_home(fix: str, session: Session) -> str:
    """The fix with its commands as they must be typed: another home than the usual one is part of the command."""
    if not (session.home_option or os.environ.get("CFAB_HOME")):
        return fix
    home = f" --home {shlex.quote(str(session.home))}"
    if _COMMAND.fullmatch(fix):
        return fix + home
    return re.sub(rf"'{_COMMAND.pattern}'", lambda found: found[0][:-1] + home + "'", fix)


def _problem(problem: Any) -> dict[str, Any]:
    also = {"also": _place(problem.also)} if problem.also else {}
    said = {"message": problem.message, "fix": problem.fix}
    return {"code": problem.code, "path": problem.path, **_place(problem.mark), **said, **also}


def _place(mark: Any) -> dict[str, Any]:
    return {"flag": mark.flag} if mark.flag else {"line": mark.line, "column": mark.column, "length": mark.length}
