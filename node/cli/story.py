"""A job's events as lines a person reads. Pure: no clock, no terminal; times come from the events.

Tolerant by design: an event or field of a newer node is skipped, never an error.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from market.money import NANO_PER_TOKEN, format_hourly, format_tokens
from node.cli.terminal import safe, short, table
from node.quantities import format_duration, format_memory, format_size

MAX_CANDIDATES = 5
_RULE_WORDS = {
    "price": "too dear",
    "vram": "with other GPU memory",
    "gpu": "other GPUs",
    "slots": "without enough free slots",
    "cpu": "with too few CPUs",
    "memory": "with too little memory",
    "disk": "with too little disk",
    "region": "in other regions",
    "reputation": "below the reputation asked for",
    "settlement": "paid on another chain",
    "simulated": "simulated",
    "allow": "not on the allow list",
    "deny": "on the deny list",
    "runtime": "without the runtime",
    "cuda": "with an older CUDA",
    "driver": "with an older driver",
    "jurisdiction": "under another law",
    "interruption": "that may be taken back too soon",
    "rtt": "too far away, or not timed yet",
    "terms": "with terms nobody should trade on",
}
_WAITING = {
    "queued": "looking at offers",
    "matching": "asking providers",
    "refused": "asking the next provider",
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

    Attributes:
        waiting_for: what happens next, for the moving line; empty once the job is over.
        since: UTC seconds of the last step, from the events.
        final: the terminal event, once there was one.
        incomplete: outputs that the job was to make are missing, or could not be written where they belong.
    """

    def __init__(self) -> None:
        self.waiting_for = ""
        self.since: float | None = None
        self.final: dict[str, Any] | None = None
        self.cap = ""
        self.spent = ""
        self.incomplete = False
        self._spent_units = 0
        self._started: float | None = None
        self._closest: list[dict[str, Any]] = []

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
        counts = [f"{event.get('offers', 0)} offers"]
        counts += [f"{rule.get('fails')} {_rule_words(rule.get('rule'))}" for rule in event.get("rejected", [])[:6]]
        counts.append(f"{event.get('matches', 0)} match")
        lines = [Line("note", "offers", " · ".join(counts), took)]
        candidates = event.get("candidates", [])[:MAX_CANDIDATES]
        if candidates:
            rows = [_candidate_row(candidate) for candidate in candidates]
            text = table(("#", "PROVIDER", "MACHINE", "GPU", "PRICE", "COST AT MOST (tokens)"), rows)
            lines += [Line("plain", "", row) for row in text.splitlines()]
        elif not event.get("matches"):
            lines += _rule_table(event)
        self._closest = event.get("closest", []) if candidates or event.get("matches") else []
        return lines

    def _tell_refused(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        detail = f" ({safe(event['detail'])})" if event.get("detail") else ""
        return [Line("warn", "refused", f"{short(event.get('provider'))}: {safe(event.get('reason'))}{detail}", took)]

    def _tell_leased(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        self.cap = amount(event.get("cap"))
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
            lines += _closest_lines(self._closest)
        if event.get("fix"):
            lines.append(Line("plain", "", f"fix: {safe(event['fix'])}"))
        return lines

    def _tell_cancelled(self, event: dict[str, Any], took: float | None, at: float | None) -> list[Line]:
        return [Line("warn", "cancelled", self.money_line or "nothing was spent")]


def amount(value: object) -> str:
    """Money of an event as the node writes it: six decimals, so that a column of amounts can be compared at sight."""
    return safe(value.get("amount", "?") if isinstance(value, dict) else value)


def units(value: object) -> int:
    """The exact integer behind money of an event; 0 when there is none."""
    found = value.get("units") if isinstance(value, dict) else 0
    return found if isinstance(found, int) else 0


def at_risk(leased: dict[str, Any]) -> str:
    """The most either side can lose by the other's fault, of a ``leased`` event: never more than the whole cost."""
    exposure, cap = leased.get("exposure"), leased.get("cap")
    return amount(cap if cap and units(cap) < units(exposure) else exposure)


def is_incomplete(outputs: dict[str, Any]) -> bool:
    """Whether an ``outputs`` event tells of something that is not where it was wanted."""
    return bool(outputs.get("missing") or outputs.get("problems"))


def price(value: object) -> str:
    """A price of an event, per hour."""
    return safe(value.get("hourly", "?") if isinstance(value, dict) else value)


def _candidate_row(candidate: dict[str, Any]) -> tuple[object, ...]:
    gpu = str(candidate.get("gpu", "")) + (" (simulated)" if candidate.get("simulated") else "")
    return (
        candidate.get("rank"),
        short(candidate.get("provider")),
        candidate.get("machine"),
        gpu,
        price(candidate.get("price")),
        amount(candidate.get("expected_cost")),
    )


def _rule_table(event: dict[str, Any]) -> list[Line]:
    rules = event.get("rejected", [])
    if not rules:
        return [Line("plain", "", "no offer is known yet; 'cfab status' shows the peers this node sees")]
    rows = [(rule.get("rule"), rule.get("fails"), rule.get("only")) for rule in rules]
    lines = [Line("plain", "", row) for row in table(("RULE", "FAIL IT", "FAIL ONLY IT"), rows).splitlines()]
    return lines + _closest_lines(event.get("closest", []))


def _closest_lines(changes: list[dict[str, Any]]) -> list[Line]:
    return [Line("plain", "", f"closest: {_closest(change)}") for change in changes]


def _rule_words(rule: object) -> str:
    return _RULE_WORDS.get(str(rule), f"fail {safe(rule)}")


def _closest(change: dict[str, Any]) -> str:
    field, value = change.get("field"), change.get("value")
    if field == "max_price" and isinstance(value, int):
        # Shown to four decimals, rounded up: what is printed must match when it is typed in.
        hundredth_of_cent = NANO_PER_TOKEN // 10_000
        hourly = -(-value * 3600 // hundredth_of_cent) * hundredth_of_cent
        return f"--max-price {hourly / NANO_PER_TOKEN:.4f}/h" if hourly else f"--max-price {format_hourly(value)}"
    if field == "allow_simulated":
        return "--simulated"
    if field == "cpu_milli" and isinstance(value, int):
        return f"--cpu {value / 1000:g} for each GPU"
    if field in ("memory_mib", "disk_mib"):
        shown = format_memory(value) if isinstance(value, int) else safe(value)
        return f"--{str(field).removesuffix('_mib')} {shown} for each GPU"
    return f"{safe(field)} {safe(value)}"


def _seconds(text: object) -> float | None:
    try:
        return datetime.datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
