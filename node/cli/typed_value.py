"""One value as it was typed: what is wrong with it is told with the flag or argument it was typed for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from market.errors import InvalidRequest
from node.cli.failures import Usage

_T = TypeVar("_T")


def read_value(name: str, parse: Callable[[str], _T], text: str) -> _T:
    """What ``parse`` makes of the text.

    Args:
        name: where it was typed, such as ``--over``.

    Raises:
        Usage: it is none; says where, why and what would be one.
    """
    try:
        return parse(text)
    except InvalidRequest as error:
        raise Usage(f"{name}: {error.message}", fix=error.fix) from None


class NumberRange(click.FloatRange):
    """A range that ``nan`` is outside of: it compares as neither below nor above anything."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number.

        Raises:
            click.BadParameter: it is none, or not in the range.
        """
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number
