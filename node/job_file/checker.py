"""Walk a job document and report everything that is wrong with it at once: one problem per cause.

What was right is kept by dotted path in ``values``, for ``build`` to make a request of. Pure: touches no file.
"""

from __future__ import annotations

import difflib

from node.job_file import lists, values
from node.job_file.document import Mapping, Node, Scalar
from node.job_file.problem import Mark
from node.job_file.report import Report
from node.job_file.schema import FOREIGN, KEYS, LATER, PROVIDERS, REQUIRED, RESOURCES, Key, Section

_ECHO = 80


def check_document(root: Mapping) -> Report:
    """Everything that is right and wrong with a document, contradictions between keys excepted (see ``build``)."""
    checker = _Checker(root)
    checker.run()
    return checker.report


class _Checker:
    def __init__(self, root: Mapping) -> None:
        self.root = root
        self.report = Report()
        self.add = self.report.add
        self.marks = self.report.marks

    def run(self) -> None:
        self.mapping(self.root, KEYS, "")
        covered = {FOREIGN.get(key.text, "").split(" ")[0].split(",")[0] for key, _ in self.root.entries}
        for name in REQUIRED:
            if name not in self.marks and name not in covered:
                self.missing(name, f"'{name}' is required: {REQUIRED[name]}")
        if not {"max_price", "max_total"} & (self.marks.keys() | covered):
            self.missing("max_price", "say what it may cost: 'max_price', 'max_total' or both")

    def missing(self, path: str, message: str) -> None:
        """Record that a key is not there; the fix is a flag when the job was given by flags."""
        key = KEYS[path]
        assert isinstance(key, Key)
        by_flag = self.root.mark.flag and key.flag
        fix = f"add '{key.flag} {key.flag_example or key.example}'" if by_flag else f"add '{path}: {key.example}'"
        self.add("missing_key", path, Mark(flag=key.flag if by_flag else ""), message, fix)

    def mapping(self, node: Mapping, section: dict[str, Key | Section] | Section, prefix: str) -> None:
        """Check the keys of one mapping, then what is under each."""
        seen: dict[str, Mark] = {}
        for key, value in node.entries:
            path = prefix + key.text
            if key.text in seen:
                first = seen[key.text]
                self.add(
                    "duplicate_key",
                    path,
                    key.mark,
                    f"'{key.text}' is given twice (first on line {first.line})",
                    "keep one of them",
                    also=first,
                )
                continue
            seen[key.text] = key.mark
            rule = section.get(key.text)
            if rule is None:
                self.unknown(key, section, prefix)
            elif isinstance(rule, Key):
                self.marks[path] = value.mark if value.mark.flag or _is_given(value) else key.mark
                self.value(path, rule, value)
            elif isinstance(value, Mapping):
                self.mapping(value, rule, path + ".")
            elif _is_given(value):
                inside = ", ".join(f"{name}: {item.example}" for name, item in list(rule.items())[:2])
                self.add(
                    "wrong_type", path, value.mark, f"'{path}' holds keys of its own", f"write '{path}: {{{inside}}}'"
                )

    def unknown(self, key: Scalar, section: dict[str, Key | Section] | Section, prefix: str) -> None:
        """Explain a key that is not ours: planned, another tool's, misplaced, or misspelt."""
        name, path = key.text[:_ECHO], prefix + key.text
        if not prefix and name in LATER:
            self.add("not_supported", path, key.mark, f"'{name}' is not supported yet", LATER[name])
            return
        near = difflib.get_close_matches(name, section, 1, 0.7)
        if not prefix and name in FOREIGN:
            fix = f"use {FOREIGN[name]}"
        elif near:
            fix = f"did you mean '{near[0]}'?"
        elif home := _home_of(name, prefix):
            fix = f"it belongs {home}"
        else:
            fix = "known keys: " + ", ".join(section)
        self.add("unknown_key", path, key.mark, f"unknown key '{name}'", fix)

    def value(self, path: str, rule: Key, node: Node) -> None:
        """Check one value by its kind."""
        if not _is_given(node):
            self.add("invalid_value", path, self.marks[path], f"'{path}' has no value", self.report.example(path, node))
        elif rule.kind in values.SCALAR_READERS:
            if isinstance(node, Scalar):
                self.report.read(path, node, values.SCALAR_READERS[rule.kind])
            else:
                self.add(
                    "wrong_type", path, node.mark, f"'{path}' takes a single value", self.report.example(path, node)
                )
        else:
            lists.READERS[rule.kind](self.report, path, node)


def _is_given(node: Node) -> bool:
    return not (isinstance(node, Scalar) and node.plain and node.text in ("", "~", "null"))


def _home_of(name: str, prefix: str) -> str:
    for section, keys in (("resources", RESOURCES), ("providers", PROVIDERS)):
        if name in keys and prefix != section + ".":
            return f"under '{section}:'"
    return "at the top level" if prefix and name in KEYS else ""
