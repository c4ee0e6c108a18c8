"""Read YAML 1.2 text into our own tree, with the position of every piece. The only file that imports ruamel.

Built from parser events with an explicit stack: a file cannot exhaust the interpreter's stack, and aliases (the
billion-laughs attack) are refused rather than expanded. Values stay text: ``22:22`` and ``no`` mean what they say.
"""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from node.job_file.document import Mapping, Node, Scalar, Sequence
from node.job_file.problem import Mark, Problem

MAX_BYTES = 256_000
MAX_NODES = 10_000
MAX_DEPTH = 12


class Unreadable(Exception):
    """The text is no document at all; one problem says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read_yaml(raw: bytes) -> Mapping:
    """The one mapping in ``raw``.

    Raises:
        Unreadable: too large, not UTF-8, not YAML, nested too deeply, with aliases or tags, or not a mapping.
    """
    if len(raw) > MAX_BYTES:
        raise _unreadable(
            "too_large", Mark(), f"the file is larger than {MAX_BYTES // 1000} kB", "put data into inputs"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _unreadable("not_text", Mark(line=line), "the file is not UTF-8 text", "save it as UTF-8") from None
    return _Builder().build(text)


class _Builder:
    def __init__(self) -> None:
        self.open: list[tuple[Any, list[Node]]] = []
        self.done: list[Node] = []
        self.count = 0

    def build(self, text: str) -> Mapping:
        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                self.take(event)
        except MarkedYAMLError as error:
            at = error.problem_mark or error.context_mark
            mark = Mark(line=at.line + 1, column=at.column + 1) if at else Mark()
            what = (error.problem or "cannot be read as YAML").strip()
            raise _unreadable(
                "yaml_syntax", mark, what, "an entry is 'key: value', a list item starts with '- '"
            ) from None
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise _unreadable("bad_character", Mark(line=line), "a character that YAML forbids", "remove it") from None
        except (YAMLError, ValueError):
            raise _unreadable("yaml_syntax", Mark(), "cannot be read as YAML", "") from None
        if not self.done or not isinstance(self.done[0], Mapping):
            raise _unreadable("not_a_mapping", Mark(), "a job file is a mapping of keys", "start with 'image: …'")
        return self.done[0]

    def take(self, event: Any) -> None:
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            raise _unreadable("alias", _mark(event), "anchors and aliases are not supported", "write the value out")
        if getattr(event, "tag", None):
            raise _unreadable("tag", _mark(event), "tags are not supported", "write the plain value")
        if isinstance(event, DocumentStartEvent) and self.done:
            raise _unreadable("two_documents", _mark(event), "one job per file", "put the second into its own file")
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            self.open.append((event, []))
        elif isinstance(event, ScalarEvent):
            self.add(Scalar(event.value, _mark(event), plain=event.style is None), event)
        elif isinstance(event, MappingEndEvent):
            start, items = self.open.pop()
            self.add(self.mapping(start, items), start)
        elif isinstance(event, SequenceEndEvent):
            start, items = self.open.pop()
            self.add(Sequence(tuple(items), _mark(start)), start)
        if len(self.open) > MAX_DEPTH:
            raise _unreadable("too_deep", _mark(event), f"nested more than {MAX_DEPTH} levels", "flatten it")

    def add(self, node: Node, event: Any) -> None:
        self.count += 1
        if self.count > MAX_NODES:
            raise _unreadable("too_large", _mark(event), f"more than {MAX_NODES} values", "put data into inputs")
        (self.open[-1][1] if self.open else self.done).append(node)

    def mapping(self, start: Any, items: list[Node]) -> Mapping:
        entries = []
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, Scalar):
                raise _unreadable(
                    "yaml_syntax", key.mark, "a key must be a single word", "quote it if it holds brackets"
                )
            entries.append((key, value))
        return Mapping(tuple(entries), _mark(start))


def _mark(event: Any) -> Mark:
    start, end = event.start_mark, event.end_mark
    one_line = isinstance(event, ScalarEvent | AliasEvent) and start.line == end.line
    return Mark(
        line=start.line + 1, column=start.column + 1, length=max(1, end.column - start.column) if one_line else 1
    )


def _unreadable(code: str, mark: Mark, message: str, fix: str) -> Unreadable:
    return Unreadable(Problem(code=code, path="", mark=mark, message=message, fix=fix))
