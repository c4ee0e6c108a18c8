"""Read the values of a job file that hold more than one thing: command, env, inputs, outputs, lists of words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node.countries import read_jurisdiction
from node.job_file import values
from node.job_file.document import Mapping, Node, Scalar, Sequence
from node.job_file.problem import Mark
from node.job_file.ranking import read_strategy, read_weights
from node.job_file.report import Report
from node.job_file.request import asked_twice
from node.job_file.secret_words import looks_secret

MAX_COMMAND = 131_072
MAX_VARIABLE = 32_768
MAX_MOUNTS = 64


def read_command(report: Report, path: str, node: Node) -> None:
    """A string is run by ``sh -c``; a list is run as it is."""
    parts = [node] if isinstance(node, Scalar) else list(node.items) if isinstance(node, Sequence) else []
    texts = [part for part in parts if isinstance(part, Scalar)]
    if not texts or len(texts) != len(parts) or any("\0" in part.text for part in texts):
        report.add(
            "wrong_type", path, node.mark, f"'{path}' takes a string, or a list of strings", report.example(path, node)
        )
        return
    for part in texts:
        if looks_secret("", part.text):
            report.secret(path, part, "secret_in_command")
            return
    if len(texts) > 1000 or sum(len(part.text) for part in texts) > MAX_COMMAND:
        report.add("too_large", path, node.mark, f"'{path}' is too long", "put the script into inputs")
        return
    shell = isinstance(node, Scalar)
    report.values[path] = ("/bin/sh", "-c", texts[0].text) if shell else tuple(part.text for part in texts)


def read_env(report: Report, path: str, node: Node) -> None:
    """A mapping of names to values, or a list of ``NAME=value``."""
    pairs: list[tuple[Scalar, Node]] = []
    if isinstance(node, Mapping):
        pairs = list(node.entries)
    elif isinstance(node, Sequence):
        for item in node.items:
            name, equals, value = item.text.partition("=") if isinstance(item, Scalar) else ("", "", "")
            if not equals:
                report.add("invalid_value", path, item.mark, "not NAME=value", report.example(path, node))
                return
            pairs.append((Scalar(name, item.mark), Scalar(value, item.mark, plain=False)))
    else:
        report.add("wrong_type", path, node.mark, f"'{path}' takes names and values", report.example(path, node))
        return
    read: dict[str, str] = {}
    for variable, given in pairs:
        _variable(report, path, read, variable, given)
    report.values[path] = read


def _variable(report: Report, path: str, read: dict[str, str], name: Scalar, value: Node) -> None:
    key = f"{path}.{name.text[:64]}"
    if name.text in read:
        report.add("duplicate_key", key, name.mark, f"'{name.text}' is given twice", "keep one of them")
    elif not isinstance(value, Scalar):
        report.add("wrong_type", key, value.mark, f"'{key}' takes a single value", "quote it if it holds brackets")
    elif looks_secret(name.text, value.text):
        report.secret(key, value, "secret_in_env")
    elif len(value.text) > MAX_VARIABLE or "\0" in value.text or len(read) >= 256:
        report.add("too_large", key, value.mark, f"'{key}' is too long, or one too many", "put data into inputs")
    elif report.read(key, Scalar(name.text, name.mark, plain=False), values.read_variable):
        read[name.text] = value.text


def read_words(report: Report, path: str, node: Node) -> None:
    """Regions: one word, or a list."""
    _list(report, path, node, values.read_word)


def read_jurisdictions(report: Report, path: str, node: Node) -> None:
    """Countries and groups of them: one, or a list."""
    _list(report, path, node, read_jurisdiction)


def read_keys(report: Report, path: str, node: Node) -> None:
    """Node keys: one, or a list."""
    _list(report, path, node, values.read_key)


def _list(report: Report, path: str, node: Node, reader: Callable[[str], Any]) -> None:
    items = [node] if isinstance(node, Scalar) else list(node.items) if isinstance(node, Sequence) else [node]
    found: list[tuple[Any, Mark]] = []
    for index, item in enumerate(items[:MAX_MOUNTS]):
        where = f"{path}[{index}]"
        if not isinstance(item, Scalar):
            report.add("wrong_type", where, item.mark, f"'{path}' takes a list of words", report.example(path, node))
        elif (value := report.read(where, item, reader)) is not None:
            found.append((value, item.mark))
            report.marks[f"{path}={value}"] = item.mark
    if len(items) > MAX_MOUNTS:
        report.add("too_large", path, node.mark, f"'{path}' has more than {MAX_MOUNTS} entries", "shorten it")
    report.values[path] = tuple(value for value, _ in found)


def read_inputs(report: Report, path: str, node: Node) -> None:
    """``{from: local path, to: path in the job}``, or ``local:job`` as one word."""
    report.values[path] = _mounts(report, path, node, local="from", inside="to")


def read_outputs(report: Report, path: str, node: Node) -> None:
    """``{from: path in the job, to: local folder}``, or ``job:local`` as one word."""
    report.values[path] = _mounts(report, path, node, local="to", inside="from")


def _mounts(report: Report, path: str, node: Node, *, local: str, inside: str) -> list[tuple[Scalar, str]]:
    """Pairs of the local side as written (resolved later, against the file's own folder) and the path in the job."""
    if not isinstance(node, Sequence) or len(node.items) > MAX_MOUNTS:
        report.add(
            "wrong_type", path, node.mark, f"'{path}' takes a list of at most {MAX_MOUNTS}", report.example(path, node)
        )
        return []
    pairs: list[tuple[Scalar, str]] = []
    taken: dict[str, Mark] = {}
    for index, item in enumerate(node.items):
        where = f"{path}[{index}]"
        sides = _sides(report, path, where, item)
        if sides is None:
            continue
        target = report.read(f"{where}.{inside}", sides[inside], values.read_job_path)
        if "://" in sides[local].text:
            report.add(
                "not_supported",
                where,
                sides[local].mark,
                "addresses on the web are not supported yet",
                "download it first and name the local file",
            )
        elif target is not None and not _clashes(report, path, where, Scalar(target, sides[inside].mark), taken):
            taken[target] = sides[inside].mark
            pairs.append((sides[local], target))
    return pairs


def _clashes(report: Report, path: str, where: str, target: Scalar, taken: dict[str, Mark]) -> bool:
    """Report a path of the job that was named before, or an output inside another: each is packed by itself."""
    message, fix = f"'{target.text}' is used twice in '{path}'", "give each its own path"
    other = target.text if target.text in taken else None
    if other is None and path == "outputs":
        other = next((outer for outer in taken if asked_twice((outer, target.text))), None)
        message, fix = f"one of '{other}' and '{target.text}' lies inside the other", "name the outer folder alone"
    if other is None:
        return False
    report.add("contradiction", where, target.mark, message, fix, also=taken[other])
    return True


def _sides(report: Report, path: str, where: str, item: Node) -> dict[str, Scalar] | None:
    if isinstance(item, Scalar) and "://" not in item.text and item.text.count(":") == 1:
        left, _, right = item.text.partition(":")
        if left and right:
            return {"from": Scalar(left, item.mark), "to": Scalar(right, item.mark)}
    if isinstance(item, Mapping):
        sides = {key.text: value for key, value in item.entries if isinstance(value, Scalar) and value.text}
        for key, _ in item.entries:
            if key.text not in ("from", "to"):
                fix = (
                    "'sha256' is not needed: files are hashed when sent"
                    if key.text == "sha256"
                    else "only 'from' and 'to'"
                )
                report.add("unknown_key", f"{where}.{key.text[:64]}", key.mark, f"unknown key '{key.text[:64]}'", fix)
                return None
        if sides.keys() == {"from", "to"} and len(item.entries) == 2:
            return {key: value for key, value in sides.items() if isinstance(value, Scalar)}
    report.add(
        "wrong_type", where, item.mark, f"each entry of '{path}' has 'from' and 'to'", report.example(path, item)
    )
    return None


READERS: dict[str, Callable[[Report, str, Node], None]] = {
    "command": read_command,
    "env": read_env,
    "words": read_words,
    "jurisdictions": read_jurisdictions,
    "keys": read_keys,
    "inputs": read_inputs,
    "outputs": read_outputs,
    "strategy": read_strategy,
    "weights": read_weights,
}
