"""A job as it was typed: the command, its flags and its file. Knows how to be read, and how to be typed again."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from market.errors import FabricError
from node.cli.auction_lines import Proposal
from node.cli.job_options import FLAGS, flag_words, job_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.job_file import JobRequest

_FROM_STDIN = "-"


@dataclass(frozen=True)
class TypedJob:
    """One call of ``run``, ``submit`` or ``plan``.

    Attributes:
        flags: parameters of the job's options, as given.
        image, command: what was typed instead of, or over, a file.
        file: the job file; ``-`` is standard input, whose content is ``piped``.
        others: words that are no part of the job, such as ``--home`` and its folder.
    """

    flags: dict[str, Any]
    image: str = ""
    command: tuple[str, ...] = ()
    file: str | None = None
    piped: bytes = b""
    others: tuple[str, ...] = field(default=())

    @classmethod
    def read(cls, flags: dict[str, Any], file: str | None, **typed: Any) -> TypedJob:
        """Take what was typed; standard input is read now, because it can be read only once."""
        given = {name: value for name, value in flags.items() if value not in (None, False, ())}
        piped = sys.stdin.buffer.read() if file == _FROM_STDIN else b""
        return cls(flags=given, file=file, piped=piped, **typed)

    def request(self) -> JobRequest:
        """The job, checked.

        Raises:
            InvalidRequest, InvalidJob: what is wrong with it.
        """
        from node.job_file.load import load_flags, load_job, load_job_file

        document = job_document(self.flags, image=self.image, command=self.command)
        if self.file is None:
            return load_flags(document)
        if self.file == _FROM_STDIN:
            return load_job(self.piped, file="stdin", folder=Path.cwd(), flags=document)
        return load_job_file(Path(self.file), document)

    def line(self) -> str:
        """The command to type into a shell."""
        words = ["cfab"]
        if self.image:
            words += ["run", *(("-f", self.file) if self.file else ())]
        else:
            words += ["submit", self.file or _FROM_STDIN]
        words += [*flag_words(self.flags), *self.others]
        if self.image:
            words += [self.image, *(("--", *self.command) if self.command else ())]
        return " ".join(map(quote, words))

    def proposal(self, request: JobRequest, changes: Sequence[dict[str, Any]]) -> Proposal | None:
        """The same command with the flags changed that make it match; None when no flags can say it.

        Args:
            request: the job as it was read.
            changes: what would let it match, as in a ``matching`` event.
        """
        from node.cli.suggestion import flags_for, is_as_loose, loosened

        wanted = loosened(request, changes)
        for flags in flags_for(request, wanted):
            kept = {name: value for name, value in {**self.flags, **flags}.items() if value is not None}
            other = replace(self, flags=kept)
            if not flags:
                continue
            try:
                if is_as_loose(other.request(), wanted):
                    return Proposal(_changed(flags), other.line())
            except FabricError:
                continue
        return None


def _changed(flags: dict[str, Any]) -> str:
    gone = [f"without {FLAGS[name]}" for name, value in flags.items() if value is None]
    return ", ".join([*gone, " ".join(map(quote, flag_words(flags)))] if flag_words(flags) else gone)


def quote(word: str) -> str:
    """A word as a shell reads it back; what cannot be printed is escaped, so that a line stays one line."""
    if word.isprintable():
        return shlex.quote(word)
    known = {"\n": "\\n", "\t": "\\t", "\\": "\\\\", "'": "\\'"}
    return "$'" + "".join(known.get(ch) or (ch if ch.isprintable() else _escaped(ch)) for ch in word) + "'"


def _escaped(ch: str) -> str:
    return f"\\x{ord(ch):02x}" if ord(ch) < 0x80 else f"\\U{ord(ch):08x}"
