"""The way to the index in C (``market/_offer_index.c``), where it was built, and past it where not.

It is optional: without a C compiler at install time :class:`market.offer_index.OfferIndex` does the same, slower. Both
find exactly what :func:`market.offer_row.scan` finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from market.offer_index import OfferIndex
from market.offer_row import Query, Row

if TYPE_CHECKING:
    from market._offer_index import NativeIndex

    AVAILABLE: bool
else:
    try:
        from market._offer_index import QUERY_FIELDS, ROW_FIELDS, NativeIndex

        # A library that was built from another version of this package reads other things from a row.
        AVAILABLE = (Row._fields, Query._fields) == (ROW_FIELDS, QUERY_FIELDS)
    except ImportError:
        NativeIndex, AVAILABLE = None, False


def open_index(native: bool = True) -> OfferIndex | NativeIndex:
    """An empty index: the one in C, or the one in Python where that was not built or is not wanted."""
    return NativeIndex() if native and AVAILABLE else OfferIndex()


__all__ = ["AVAILABLE", "NativeIndex", "open_index"]
