"""The command line: parses, asks the running node over its socket, prints. Starts in a blink because it imports little.

Never imported here: libp2p, web3, docker, trio, fastapi. Commands live in one file per group and are loaded when
called. Every mistake of a user ends in one sentence, a fix and an exit code, never in a traceback.
"""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code (see ``failures``)."""
    from node.cli.entry import run_command

    return run_command(sys.argv[1:] if argv is None else argv)
