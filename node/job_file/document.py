"""The job as a small tree that knows where each piece was written. Two writers: the YAML reader, and the flags.

The checker reads only this tree, so a flag and a key obey the same rules and print the same errors.
"""

from __future__ import annotations

from msgspec import Struct

from node.job_file.problem import Mark


class Scalar(Struct, frozen=True):
    """A single value as text. ``plain`` is False when it was quoted; an empty plain scalar is "nothing given"."""

    text: str
    mark: Mark
    plain: bool = True


class Sequence(Struct, frozen=True):
    """A list."""

    items: tuple[Node, ...]
    mark: Mark


class Mapping(Struct, frozen=True):
    """Entries in the order written; keys may repeat, so that the checker can say where."""

    entries: tuple[tuple[Scalar, Node], ...]
    mark: Mark


Node = Scalar | Sequence | Mapping


def merge(below: Mapping, above: Mapping) -> Mapping:
    """``above`` (the flags) wins over ``below`` (the file), key by key; ``env`` and ``resources`` merge inside."""
    winners = {key.text: (key, value) for key, value in above.entries}
    entries: list[tuple[Scalar, Node]] = []
    for key, value in below.entries:
        won = winners.get(key.text)
        if won is None:
            entries.append((key, value))
        elif isinstance(value, Mapping) and isinstance(won[1], Mapping):
            entries.append((key, merge(value, won[1])))
            del winners[key.text]
    entries += winners.values()
    return Mapping(tuple(entries), below.mark)
