"""The query language of ``cfab offers``: ``gpu=RTX4090 vram>=24GB region=eu price<0.5/h``, and its order. Pure.

A query is a list of terms, all of which must hold. A term is a field, one of ``= != < <= > >=`` and a value; ``=`` and
``!=`` also take a set (``gpu=A100,H100``) or a range (``vram=24GB..48GB``), and a value with spaces stands in double
quotes. The fields are in :mod:`node.offer_fields`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from market.errors import InvalidRequest
from node.control import OfferView
from node.offer_fields import FIELDS, OTHER_NAMES, Field, Span

MAX_TEXT, MAX_TERMS, MAX_VALUES, MAX_KEYS = 1000, 32, 32, 8
_NAME = re.compile(r"\s*([A-Za-z_]{1,32})\s*")
_OPERATOR = re.compile(r"(!=|<=|>=|==?|<|>)\s*")
_VALUE = re.compile(r'"([^"]*)"|([^\s,"<>=!]+)')
_COMMA = re.compile(r"\s*,\s*")
_PLAIN = re.compile(r'[^\s,"<>=!]+')
_EXAMPLE = "as in 'gpu=RTX4090 vram>=24GB price<0.5/h'"


class Term(NamedTuple):
    """One condition. ``values`` are the words as written, ``spans`` what they mean where the field is a scale."""

    field: str
    operator: str
    values: tuple[str, ...]
    spans: tuple[Span, ...] = ()

    def holds(self, offer: OfferView) -> bool:
        """Whether an offer satisfies it."""
        field = FIELDS[self.field]
        value = field.read(offer)
        if self.operator == "!=":
            return value is None or not self._equals(field, value)
        if value is None:
            return False
        if self.operator == "=":
            return self._equals(field, value)
        low, high = self.spans[0]
        return bool({"<": value < low, "<=": value <= high, ">": value > high, ">=": value >= low}[self.operator])

    def __str__(self) -> str:
        words = (word if _PLAIN.fullmatch(word) else f'"{word}"' for word in self.values)
        return f"{self.field}{self.operator}{','.join(words)}"

    def _equals(self, field: Field, value: Any) -> bool:
        if field.span:
            return any(low <= value <= high for low, high in self.spans)
        return any(field.same(value, word) for word in self.values)


class OfferQuery(NamedTuple):
    """What an offer must satisfy: every term. ``str()`` is text that :func:`parse_query` reads as the same query."""

    terms: tuple[Term, ...] = ()

    def wants(self, offer: OfferView) -> bool:
        """Whether the offer satisfies every term."""
        return all(term.holds(offer) for term in self.terms)

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))


class Key(NamedTuple):
    """One field to sort by."""

    field: str
    is_descending: bool = False


def parse_query(text: str) -> OfferQuery:
    """Read a query; an empty one wants every offer.

    Raises:
        InvalidRequest: ``bad_query``; ``where`` names the column, ``fix`` what to write instead.
    """
    if len(text) > MAX_TEXT:
        raise _bad(f"the query is longer than {MAX_TEXT} characters", 1, fix="shorten it")
    terms: list[Term] = []
    position = 0
    while text[position:].strip():
        term, position = _read_term(text, position)
        terms.append(term)
        if len(terms) > MAX_TERMS:
            raise _bad(f"the query has more than {MAX_TERMS} terms", position, fix="shorten it")
    return OfferQuery(tuple(terms))


def parse_order(text: str) -> tuple[Key, ...]:
    """Read ``price,-reputation``: fields to sort by, the first weighs most, ``-`` for descending.

    Raises:
        InvalidRequest: as for :func:`parse_query`.
    """
    if len(text) > MAX_TEXT:
        raise _bad("the order is too long", 1, what="order", fix="as in price,-reputation")
    keys: list[Key] = []
    column = 1
    for word in text.split(",") if text.strip() else []:
        name = word.strip().removeprefix("-")
        _known(name, column, what="order")
        keys.append(Key(name, word.strip().startswith("-")))
        column += len(word) + 1
    if len(keys) > MAX_KEYS:
        raise _bad(f"the order has more than {MAX_KEYS} fields", column, what="order", fix="shorten it")
    return tuple(keys)


def arrange(offers: Iterable[OfferView], order: tuple[Key, ...] = ()) -> list[OfferView]:
    """Offers in this order; the cheaper one first where it decides nothing. What is not known comes last either way."""
    arranged = sorted(offers, key=lambda offer: (offer["price"]["nano_per_gpu_second"], offer["offer"]))
    for key in reversed(order):
        read = FIELDS[key.field].read
        known = [offer for offer in arranged if read(offer) is not None]
        known.sort(key=read, reverse=key.is_descending)
        arranged = known + [offer for offer in arranged if read(offer) is None]
    return arranged


def _read_term(text: str, start: int) -> tuple[Term, int]:
    name = _NAME.match(text, start)
    if not name:
        column = start + len(text[start:]) - len(text[start:].lstrip()) + 1
        raise _bad(f"'{text[start:].strip()[:40]}' is not a term", column, fix=f"field, operator, value, {_EXAMPLE}")
    field = _known(name[1], name.start(1) + 1)
    operator = _OPERATOR.match(text, name.end())
    if not operator:
        raise _bad(
            f"an operator is missing after '{name[1]}'", name.end(1) + 1, fix="one of = != < <= > >=, " + _EXAMPLE
        )
    sign = "=" if operator[1] == "==" else operator[1]
    if sign not in ("=", "!=") and not (field.span and field.is_ordered):
        raise _bad(f"'{name[1]}' has no order", operator.start() + 1, fix=f"{name[1]}={field.example} or !=")
    words, end = _read_values(text, operator.end(), name[1])
    spans = tuple(_span(field, word, column) for word, column in words) if field.span else ()
    if sign not in ("=", "!=") and (len(words) > 1 or ".." in words[0][0]):
        raise _bad(f"'{sign}' takes one value", words[0][1], fix=f"sets and ranges go with =, as in {name[1]}=…")
    return Term(name[1], sign, tuple(word for word, _ in words), spans), end


def _read_values(text: str, start: int, field: str) -> tuple[list[tuple[str, int]], int]:
    """The words of a set, each with its column, and where the next term starts."""
    words: list[tuple[str, int]] = []
    position = start
    while True:
        found = _VALUE.match(text, position)
        if not found or not (word := found[1] or found[2] or ""):
            fix = f"for example {field}={FIELDS[field].example}"
            raise _bad(f"a value of '{field}' is missing", position + 1, fix=fix)
        words.append((word, position + 1))
        comma = _COMMA.match(text, found.end())
        if not comma:
            if found.end() < len(text) and not text[found.end()].isspace():
                raise _bad(f"'{text[found.end()]}' does not belong here", found.end() + 1, fix="a space between terms")
            return words, found.end()
        position = comma.end()
        if len(words) >= MAX_VALUES:
            raise _bad(f"'{field}' has more than {MAX_VALUES} values", position + 1, fix="shorten the set")


def _span(field: Field, word: str, column: int) -> Span:
    assert field.span is not None
    first, dots, last = word.partition("..")
    try:
        if not dots:
            return field.span(word)
        # "0.3..0.5/h": the unit belongs to both ends.
        low = field.span(first + (last.lstrip(".0123456789") if first[-1:].isdigit() else "")).low
        high = field.span(last).high
    except InvalidRequest as error:
        raise _bad(error.message, column, fix=error.fix) from None
    if low > high or not field.is_ordered:
        raise _bad(f"'{word[:40]}' is not a range", column, fix="from the smaller to the larger, as in 24GB..48GB")
    return Span(low, high)


def _known(name: str, column: int, *, what: str = "query") -> Field:
    if (field := FIELDS.get(name)) is not None:
        return field
    near = OTHER_NAMES.get(name.lower()) or next(iter(difflib.get_close_matches(name.lower(), FIELDS, 1, 0.6)), "")
    fix = f"did you mean '{near}'?" if near else f"fields: {', '.join(FIELDS)}"
    raise _bad(f"unknown field '{name[:40]}'", column, what=what, fix=fix)


def _bad(message: str, column: int, *, what: str = "query", fix: str) -> InvalidRequest:
    return InvalidRequest(message, code="bad_query", fix=fix, where=f"{what}, column {column}")
