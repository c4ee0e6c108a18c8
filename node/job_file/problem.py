"""What is wrong with a job file: one record per cause, and all of them in one exception.

A problem points at a line and column of the file, or at a command-line flag. It never holds the value of something
that looks like a secret.
"""

from __future__ import annotations

from msgspec import Struct

from market.errors import InvalidRequest


class Mark(Struct, frozen=True, kw_only=True):
    """Where a piece of the job was written. ``line`` and ``column`` count from 1; ``flag`` replaces them."""

    line: int = 1
    column: int = 1
    length: int = 1
    flag: str = ""


class Problem(Struct, frozen=True, kw_only=True):
    """One cause. ``path`` is the key (``resources.gpu``); ``also`` is the other place of a contradiction."""

    code: str
    path: str
    mark: Mark
    message: str
    fix: str
    also: Mark | None = None


class InvalidJob(InvalidRequest):
    """Everything that is wrong with a job, at once. ``source`` is the file's text with secrets blotted out."""

    def __init__(self, file: str, problems: list[Problem], *, source: str = "") -> None:
        first = problems[0]
        where = first.mark.flag or f"{file}:{first.mark.line}:{first.mark.column}"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(first.message + more, code="invalid_job_file", fix=first.fix, where=where)
        self.file = file
        self.problems = problems
        self.source = source

    @property
    def from_flags(self) -> bool:
        """True when only the command line is to blame."""
        return all(problem.mark.flag for problem in self.problems)


def render(error: InvalidJob) -> str:
    """The problems as a compiler prints them: code, place, line, caret, fix."""
    lines = error.source.splitlines() or [""]
    out: list[str] = []
    for problem in error.problems:
        out.append(f"error[{problem.code}]: {problem.message}")
        out.append(f"  --> {_place(error.file, problem.mark)}")
        if not problem.mark.flag and problem.code != "missing_key":
            out += _excerpt(lines, problem.mark)
        if problem.also:
            out.append(f"  and {_place(error.file, problem.also)}")
            if not problem.also.flag and problem.also.line != problem.mark.line:
                out += _excerpt(lines, problem.also)
        out += [f"   fix: {problem.fix}", ""] if problem.fix else [""]
    count = len(error.problems)
    return "\n".join(out) + f"\n{error.file or 'command line'}: {count} error{'s' if count != 1 else ''}"


def _place(file: str, mark: Mark) -> str:
    return mark.flag or f"{file}:{mark.line}:{mark.column}"


def _excerpt(lines: list[str], mark: Mark) -> list[str]:
    text = lines[mark.line - 1] if mark.line <= len(lines) else ""
    start = max(0, mark.column - 60)
    piece = "".join(ch if ch.isprintable() else " " for ch in text[start : start + 100])
    caret = " " * (mark.column - 1 - start) + "^" * max(1, min(mark.length, len(piece) - mark.column + 1 + start))
    return [f"   {mark.line:>4} | {piece}", f"        | {caret}"]
