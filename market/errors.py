"""The four kinds of error, told apart by who must act. Nothing else is raised on purpose.

Expected refusals of the trade ("already sold", "too dear") are values, not exceptions: see ``records.Refusal``.
The text of an error is for people and is never matched by code; code looks at ``code``.
"""

from __future__ import annotations


class FabricError(Exception):
    """Common ancestor, so that a door (CLI, API) can turn any of ours into one clear sentence.

    Attributes:
        code: stable word for programs, such as ``"unknown_key"``.
        message: what is wrong, in one sentence.
        fix: how to mend it, or empty when we do not know.
        where: location of the cause, such as ``"job.yaml:7:3"``, or empty.
    """

    def __init__(self, message: str, *, code: str = "", fix: str = "", where: str = "") -> None:
        super().__init__(message)
        self.code = code or type(self).__name__.lower()
        self.message = message
        self.fix = fix
        self.where = where


class InvalidRequest(FabricError):
    """Our own user asked for something that cannot be done as written. The user mends it."""


class PeerFault(FabricError):
    """The other side broke a rule of the protocol. Its budget goes down; nothing of ours changes."""


class Unavailable(FabricError):
    """The world is out of reach just now (chain, engine, peer). Retried with back-off by the caller."""


class BrokenInvariant(FabricError):
    """We are wrong. The node stops; replaying the journal is safe."""
