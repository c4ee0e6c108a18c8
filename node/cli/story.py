"""A job's events as lines a person reads. Pure: no clock, no terminal; times come from the events.

Tolerant by design: an event or field of a newer node is skipped, never an error.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from market.money import format_tokens
from node.cli.amounts import amount, at_risk, price, units
from node.cli.auction_lines import Propose, candidate_lines, closest_lines, counts_line, rule_lines
from node.cli.terminal import safe, short
from node.quantities import format_duration, format_size

_WAITING = {
    "queued": "looking at offers",
    "matching": "asking providers",
    "quoted": "asking providers",
    "refused": "asking the next provider",
    "waiting_for_offers": "waiting for an offer that fits",
    "leased": "funding the lane on the chain",
    "funded": "preparing: image and inputs",
    "preparing": "starting the container",
    "running": "running",
    "paid": "running",
    "exited": "fetching outputs and the last receipt",
    "outputs": "settling on the chain",
    "deadline_passed": "ending the lease",
}


@dataclass(frozen=True)
class Line:
    """One line: ``kind`` is a mark of ``terminal.MARKS`` or ``plain``, ``seconds`` how long the step took, if known."""

    kind: str
    stage: str
    text: str
    seconds: float | None = None
    tick: bool = False


class Story:
    """What one job's events say so far.

    Args:
        propose: how the job's owner would type a change, if he just typed the job.

    Attributes:
        waiting_for: what happens next, for the moving line; empty once the job is over.
        since: UTC seconds of the last step, from the events.
        final: the terminal event, once there was one.
        has_lease: a provider signed, so that there are receipts.
        incomplete: outputs that the job was to make are missing, or could not be written where they belong.
    """

    def __init__(self, propose: Propose | None = None) -> None:
        self.waiting_for = ""
        self.since: float | None = None
        self.final: dict[str, Any] | None = None
        self.cap = ""
        self.spent = ""
        self.incomplete = False
        self.has_lease = False
        self._spent_units = 0
        self._started: float | None = None
        self._propose = propose
        self._untold: dict[str, Any] = {}
        self._has_told_command = False

    def tell(self, event: dict[str, Any]) -> list[Line]:
        """The lines for the next event."""
        kind = str(event.get("type", ""))
        at = _seconds(event.get("time"))
        took = at - self.since if at is not None and self.since is not None else None
        teller = getattr(self, f"_tell_{kind}", None)
        lines: list[Line] = teller(event, took, at) if teller else []
        if kind != "paid":
            self.since = at if at is not None else self.since
        self.waiting_for = _WAITING.get(kind, self.waiting_for)
        if kind in ("succeeded", "failed", "cancelled"):
            self.final, self.waiting_for = event, ""
        return lines

    @property
    def money_line(self) -> str:
        """``spent 0.000400 of at most 0.105000 tokens``, or empty before the first payment."""
        return f"spent {self.spent}" + (f" of at most {self.cap}" if self.cap else "") + " tokens" if self.spent else ""

    def _tell_queued(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        return []

    def _tell_matching(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        lines = [Line("note", "offers", counts_line(event), took)]
        lines += _plain(candidate_lines(event))
        if not event.get("matches"):
            lines += _plain(rule_lines(event)) + self._told_closest(event)
        self._untold = event if event.get("matches") else {}
        return lines

    def _tell_quoted(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        lower, tag = price(event.get("price")), price(event.get("tag"))
        return [Line("note", "quoted", f"{short(event.get('provider'))} takes {lower} instead of {tag}")]

    def _tell_waiting_for_offers(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        lines = [Line("note", "queued", f"{counts_line(event)} · waits for an offer until {safe(event.get('until'))}")]
        if event.get("message"):  # what fits cannot be funded
            lines += [
                Line("warn", "short", safe(event["message"])),
                Line("plain", "", f"fix: {safe(event.get('fix'))}"),
            ]
        if not event.get("matches"):
            lines += _plain(rule_lines(event)) + self._told_closest(event)
        return lines

    def _told_closest(self, event: dict[str, Any]) -> list[Line]:
        texts = closest_lines(event, self._propose)
        self._has_told_command |= any(text.startswith("  ") for text in texts)
        return _plain(texts)

    def _tell_refused(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        detail = f" ({safe(event['detail'])})" if event.get("detail") else ""
        return [Line("warn", "refused", f"{short(event.get('provider'))}: {safe(event.get('reason'))}{detail}", took)]

    def _tell_leased(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        self.cap, self.has_lease = amount(event.get("cap")), True
        text = f"{short(event.get('provider'))} for {price(event.get('price'))}, at most {self.cap} tokens in all"
        if event.get("exposure"):
            text += f", at most {at_risk(event)} at risk for either side"
        return [Line("ok", "matched", text, took)]

    def _tell_funded(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        transaction = event.get("transaction")
        how = f"transaction {safe(transaction)}" if transaction else "the lane still held enough, no transaction"
        return [Line("ok", "funded", f"{amount(event.get('amount'))} tokens · {how}", took)]

    def _tell_waiting(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        return [Line("note", "waiting", safe(event.get("detail", "")))]

    def _tell_preparing(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        return [Line("ok", "preparing", safe(event.get("detail", "")), took)]

    def _tell_running(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        self._started = at
        return [Line("ok", "running", "the container is up", took)]

    def _tell_paid(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        self.spent, self._spent_units = amount(event.get("amount")), units(event.get("amount"))
        used = format_duration(int(event.get("gpu_ms", 0)))
        text = f"report {event.get('sequence')}: {used} used, voucher for {self.spent}"
        return [Line("ok", "paid", text + (" (final)" if event.get("final") else ""), None, tick=True)]

    def _tell_topped_up(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        return [Line("note", "topped up", f"{amount(event.get('covered'))} tokens are set aside now in all")]

    def _tell_running_dry(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        text = f"the money set aside lasts until {safe(event.get('until'))}: {safe(event.get('detail'))}"
        return [Line("warn", "runs dry", text), *_plain([f"  fix: {safe(event.get('fix'))}"])]

    def _tell_exited(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        reason, code = event.get("reason"), event.get("exit_code")
        ran = f" after {format_duration(int((at - self._started) * 1000))}" if at and self._started else ""
        if reason in ("ok", "error"):
            return [Line("ok" if code == 0 else "fail", "exited", f"the program ended with code {code}{ran}")]
        return [Line("warn", "exited", f"{safe(reason)}{ran}")]

    def _tell_outputs(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        files = event.get("files", [])
        count = event.get("count", len(files) if isinstance(files, list) else files)
        where = event.get("to", "")
        places = ", ".join(where) if isinstance(where, list) else where
        lines = [Line("warn", "outputs", f"nothing at {safe(path)}") for path in event.get("missing", [])]
        if count:
            size = format_size(int(event.get("bytes", 0)))
            text = f"{count} file{'s' if count != 1 else ''}, {size} → {safe(places)}"
            lines.append(Line("ok", "outputs", text, took))
        lines += [Line("warn", "outputs", safe(problem)) for problem in event.get("problems", [])]
        self.incomplete = is_incomplete(event)
        return lines

    def _tell_settled(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        paid = amount(event.get("paid"))
        if event.get("reclaimed"):
            vouched = units(event["vouched"]) if event.get("vouched") else self._spent_units
            left = max(0, vouched - units(event.get("paid")))
            text = f"reclaimed: paid {paid} tokens; {format_tokens(left)} was vouched and not drawn"
        else:
            text = f"paid {paid}, returned {amount(event.get('refunded'))}"
            text += f" of {amount(event.get('deposited'))} tokens set aside"
        if event.get("transaction"):
            text += f" · transaction {safe(event['transaction'])}"
        return [Line("warn" if event.get("reclaimed") else "ok", "settled", text, took)]

    def _tell_succeeded(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        return [Line("ok", "done", "the job succeeded" + (f", {self.money_line}" if self.spent else ""))]

    def _tell_failed(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        lines = [Line("fail", "failed", safe(event.get("message") or event.get("code") or "the job failed"))]
        if event.get("code") == "no_match":
            # Who matched and refused left these untold, and the fix speaks of them.
            lines += self._told_closest(self._untold)
        fix = event.get("fix")
        if event.get("code") == "no_match" and self._has_told_command:
            fix = "the command above matches now; --wait 10m waits for an offer instead"
        return [*lines, Line("plain", "", f"fix: {safe(fix)}")] if fix else lines

    def _tell_cancelled(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        return [Line("warn", "cancelled", self.money_line or "nothing was spent")]


def _plain(texts: list[str]) -> list[Line]:
    return [Line("plain", "", text) for text in texts]


def is_incomplete(outputs: dict[str, Any]) -> bool:
    """Whether an ``outputs`` event tells of something that is not where it was wanted."""
    return bool(outputs.get("missing") or outputs.get("problems"))


def _seconds(text: object) -> float | None:
    try:
        return datetime.datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
