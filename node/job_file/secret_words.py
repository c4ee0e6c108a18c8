"""Spot what looks like a secret. The environment and the command of a job are readable by its provider."""

from __future__ import annotations

import re

from node.job_file.problem import Mark

_WORDS = r"(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|CREDENTIALS?)"
_NAME = re.compile(_WORDS + "$", re.IGNORECASE)
_ASSIGNED = re.compile(_WORDS + r"[\"']?\s*[:=]\s*[\"']?([^\s\"',}\]]+)", re.IGNORECASE)
_VALUE = re.compile(
    r"hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16}|xox[abp]-[A-Za-z0-9-]{10,}"
    r"|glpat-[A-Za-z0-9_-]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY-----|eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_.-]{20,}"
)
_SHORTEST = 6
"""Under a name like ``PAD_TOKEN`` a shorter value (``<pad>``) is no secret."""


def looks_secret(name: str, value: str) -> bool:
    """Whether a value, or the name it goes by, looks like a password, token or key."""
    return bool(_VALUE.search(value)) or (bool(_NAME.search(name)) and len(value) >= _SHORTEST)


def blot_out(source: str, marks: list[Mark], values: list[str]) -> str:
    """The source with everything secret replaced by stars, each line as long as before.

    Args:
        source: text of the job file; it may be broken YAML, so it is also searched line by line.
        marks: where secrets were found in it.
        values: the secrets themselves; every copy of them goes.
    """
    lines = source.split("\n")
    for mark in marks:
        if not mark.flag and mark.line <= len(lines):
            line, start = lines[mark.line - 1], mark.column - 1
            lines[mark.line - 1] = (
                line[:start] + "*" * len(line[start : start + mark.length]) + line[start + mark.length :]
            )
    text = _ASSIGNED.sub(_star_value, _VALUE.sub(_star_all, "\n".join(lines)))
    for piece in {piece.strip() for value in values for piece in value.splitlines()}:
        if len(piece) >= _SHORTEST:
            text = text.replace(piece, "*" * len(piece))
    return text


def _star_all(found: re.Match[str]) -> str:
    return "*" * len(found[0])


def _star_value(found: re.Match[str]) -> str:
    kept = len(found[0]) - len(found[1])
    return found[0][:kept] + ("*" * len(found[1]) if len(found[1]) >= _SHORTEST else found[1])
