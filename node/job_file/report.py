"""What a check of a job file has found so far: the values that were right, and the problems with the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from market.errors import InvalidRequest
from node.job_file.document import Node, Scalar
from node.job_file.problem import Mark, Problem
from node.job_file.schema import KEYS, Key, flag_of
from node.job_file.secret_words import looks_secret

_LONGEST_MESSAGE = 240


class Report:
    """Filled by one pass over one document.

    Attributes:
        values: dotted path → what it means, for everything that was right.
        marks: dotted path → where it was written.
        problems: what was wrong, in the order found.
        secrets: values that must never be printed, with their places.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.marks: dict[str, Mark] = {}
        self.problems: list[Problem] = []
        self.secrets: list[Scalar] = []

    def add(self, code: str, path: str, mark: Mark, message: str, fix: str, *, also: Mark | None = None) -> None:
        """Record one problem."""
        self.problems.append(Problem(code=code, path=path, mark=mark, message=message, fix=fix, also=also))

    def read(self, path: str, node: Scalar, reader: Callable[[str], Any]) -> Any:
        """Read one scalar, keep what it means under ``path``, and return it; None when it is wrong."""
        if looks_secret("", node.text):
            self.secret(path, node, "secret_in_job")
            return None
        try:
            self.values[path] = reader(node.text.strip() if node.plain else node.text)
        except InvalidRequest as error:
            short = len(error.message) <= _LONGEST_MESSAGE
            message = error.message if short else "the value is far too long"
            self.add(error.code, path, node.mark, f"{path}: {message}", error.fix or self.example(path, node))
            return None
        return self.values[path]

    def secret(self, path: str, node: Scalar, code: str) -> None:
        """Record a secret in a readable place, without its value."""
        self.secrets.append(node)
        self.add(
            code,
            path,
            node.mark,
            f"'{path}' looks like a secret, and the provider can read a job's environment and command",
            "take it out; sealed secrets are not supported yet, so give a job nothing you would not publish",
        )

    def example(self, path: str, node: Node) -> str:
        """A fix that shows the key, or its flag, in use."""
        section, _, leaf = path.partition("[")[0].rpartition(".")
        keys = KEYS.get(section) if section else KEYS
        key = keys.get(leaf) if isinstance(keys, dict) else None
        if not isinstance(key, Key):
            return ""
        if node.mark.flag:
            return f"for example '{flag_of(path)} {key.flag_example or key.example}'"
        return f"for example '{leaf}: {key.example}'"
