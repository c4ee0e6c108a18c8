"""What the demo says: lines for people on stderr, or one JSON object per line on stdout. The verdict comes last.

It only prints; what is true was decided elsewhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from node.cli.amounts import amount, price
from node.cli.options import Session
from node.cli.progress import render
from node.cli.story import Line
from node.cli.terminal import mark, safe, short, table
from node.devnet.checks import Finding
from node.quantities import format_memory


class Narrator:
    """The demo's voice. ``session`` says whether people or programs listen."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def step(self, stage: str, text: str, *, kind: str = "ok", seconds: float | None = None, **data: Any) -> None:
        """One finished step. ``data`` is for programs only."""
        if self.session.as_json:
            self._emit({"type": stage, "ok": kind != "fail", "text": text, "seconds": seconds, **data})
        else:
            self.session.say(render(Line(kind, stage, safe(text), seconds)))

    def plain(self, lines: Iterable[str]) -> None:
        """Lines for people only, such as a table."""
        if not self.session.as_json:
            for line in lines:
                self.session.say(f"  {line}")

    def offers(self, offers: Sequence[Mapping[str, Any]]) -> None:
        """The book as the requester sees it."""
        rows = [
            (
                short(offer["provider"]),
                offer["machine"],
                offer["gpu"] + (" (simulated)" if offer["simulated"] else ""),
                f"{offer['cpu_milli'] / 1000:g}",
                format_memory(offer["memory_mib"]),
                offer["region"],
                price(offer["price"]),
            )
            for offer in offers
        ]
        self.plain(
            table(("PROVIDER", "MACHINE", "GPU", "CPU", "MEMORY", "REGION", "PRICE (tokens)"), rows).splitlines()
        )

    def findings(self, findings: Iterable[Finding]) -> None:
        """What was checked, line by line, on stdout: this is the demo's result."""
        for finding in findings:
            if self.session.as_json:
                self._emit({"type": "check", "ok": finding.holds, "text": finding.text})
            else:
                sign = mark("ok" if finding.holds else "fail", stream=sys.stdout)
                self._print(f"{sign} {safe(finding.text)}")

    def receipt(self, receipt: Mapping[str, Any]) -> None:
        """The receipt, on stdout."""
        if self.session.as_json:
            self._emit({"type": "receipt", "receipt": dict(receipt)})
            return
        paid, back, total = (amount(receipt[name]) for name in ("paid", "refunded", "deposited"))
        self._print(f"receipt {receipt['receipt']}")
        self._print(f"  lease {receipt['lease']} on {safe(receipt['machine'])}")
        self._print(f"  {receipt['gpu_ms'] / 1000:.3f} s at {price(receipt['price'])} = {amount(receipt['amount'])}")
        self._print(f"  deposited {total} = paid {paid} + returned {back} tokens")
        for item in receipt["transactions"]:
            self._print(f"  {safe(item['purpose']):<8}{safe(item['hash'])} in block {item['block']}")

    def verdict(self, *, ok: bool, text: str, **data: Any) -> None:
        """The last line."""
        if self.session.as_json:
            self._emit({"type": "verdict", "ok": ok, "text": text, **data})
        else:
            self._print(f"{mark('ok' if ok else 'fail', stream=sys.stdout)} {safe(text)}")

    def _print(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def _emit(self, item: dict[str, Any]) -> None:
        self._print(json.dumps({name: value for name, value in item.items() if value is not None}))
