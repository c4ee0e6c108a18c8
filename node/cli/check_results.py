"""The three ways a check of ``cfab doctor`` can end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.control import Check


def passed(name: str, detail: str) -> Check:
    return {"name": name, "ok": True, "warning": False, "detail": detail, "fix": ""}


def warned(name: str, detail: str, fix: str) -> Check:
    return {"name": name, "ok": True, "warning": True, "detail": detail, "fix": fix}


def failed(name: str, detail: str, fix: str) -> Check:
    return {"name": name, "ok": False, "warning": False, "detail": detail, "fix": fix}
