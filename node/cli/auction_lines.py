"""An auction as lines of text: who fits and what each costs, why the others do not fit, and what would match. Pure.

Tolerant by design, as :mod:`node.cli.story`: a field of a newer node is skipped, one of an older node is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from node.cli.amounts import amount, at_risk, price
from node.cli.terminal import safe, short, table
from node.quantities import format_duration

MAX_CANDIDATES = 5
MAX_PROPOSALS = 3
TERMS = ("compute", "image", "transfer", "risk", "opening")
_RULE_WORDS = {
    "price": "too dear",
    "vram": "with other GPU memory",
    "gpu": "other GPUs",
    "slots": "without enough free slots",
    "cpu": "with too few CPUs",
    "memory": "with too little memory",
    "disk": "with too little disk",
    "region": "in other regions",
    "jurisdiction": "under other law",
    "reputation": "below the reputation asked for",
    "interruption": "that may be taken back too soon",
    "rtt": "too far away, or at a distance not measured",
    "settlement": "paid on another chain",
    "terms": "with terms nobody should trade on",
    "simulated": "simulated",
    "allow": "not on the allow list",
    "deny": "denied",
    "left_alone": "left alone for a while",
    "runtime": "without the runtime",
    "cuda": "with an older CUDA",
    "driver": "with an older driver",
}


class Proposal(NamedTuple):
    """A way to match: the flags that change, and the whole command."""

    flags: str
    line: str


Propose = Callable[[Sequence[dict[str, Any]]], Proposal | None]
"""``propose(changes)``: how the owner would type them; None when no flags can say it."""


def counts_line(seen: Mapping[str, Any]) -> str:
    """``5 offers · 4 too dear · 1 match``."""
    counts = [f"{safe(seen.get('offers', 0))} offers"]
    counts += [f"{safe(rule.get('fails'))} {rule_words(rule.get('rule'))}" for rule in seen.get("rejected", [])[:6]]
    return " · ".join([*counts, f"{safe(seen.get('matches', 0))} match"])


def rule_words(rule: object) -> str:
    """What offers are that break a rule."""
    return _RULE_WORDS.get(str(rule), f"fail {safe(rule)}")


def candidate_lines(seen: Mapping[str, Any], most: int = MAX_CANDIDATES) -> list[str]:
    """The best candidates, with what the job is expected to cost there and what would be set aside."""
    rows = [
        (
            one.get("rank"),
            short(one.get("provider")),
            one.get("machine"),
            str(one.get("gpu", "")) + (" (simulated)" if one.get("simulated") else ""),
            price(one.get("price")),
            amount(one.get("expected_cost")),
            amount(one["cap"]) if one.get("cap") else "-",
        )
        for one in seen.get("candidates", [])[:most]
    ]
    header = ("#", "PROVIDER", "MACHINE", "GPU", "PRICE", "EXPECTED, ALL COUNTED", "PAID AT MOST (tokens)")
    return table(header, rows).splitlines() if rows else []


def cost_lines(candidate: Mapping[str, Any]) -> list[str]:
    """The expected cost of one candidate, term by term: the column adds up."""
    cost = candidate.get("cost")
    if not isinstance(cost, dict):
        return []
    # A term that a newer node counts too must not be missing from the sum.
    terms = [*TERMS, *(term for term in cost if term not in TERMS)]
    rows = [(term, amount(cost.get(term)), _why(term, candidate)) for term in terms if cost.get(term)]
    rows.append(("total", amount(candidate.get("expected_cost")), "expected, in tokens"))
    width = max(len(row[1]) for row in rows)
    lines = [f"{safe(term):<9} {money:>{width}}  {why}".rstrip() for term, money, why in rows]
    return [*lines[:-1], "-" * (10 + width), lines[-1]]


def limits_line(candidate: Mapping[str, Any]) -> str:
    """What is set aside, and what can be lost."""
    return f"{amount(candidate.get('cap'))} tokens are set aside, {at_risk(dict(candidate))} at risk for either side"


def rule_lines(seen: Mapping[str, Any]) -> list[str]:
    """How many offers break each rule, and how many only that one."""
    rows = [(rule.get("rule"), rule.get("fails"), rule.get("only")) for rule in seen.get("rejected", [])]
    if not rows and not seen.get("offers"):
        return ["no offer is known yet; 'cfab status' shows the peers this node sees"]
    return table(("RULE", "FAIL IT", "FAIL ONLY IT"), rows).splitlines() if rows else []


def closest_lines(seen: Mapping[str, Any], propose: Propose | None = None, *, command: bool = True) -> list[str]:
    """The nearest changes and, with ``command``, the first that can be typed as a whole command, ready to be copied."""
    from node.cli.suggestion import change_text  # knows jobs: too heavy for every command that could print this

    ways = seen.get("suggestions") or [{"changes": [change]} for change in seen.get("closest", [])]
    lines: list[str] = []
    line = ""
    for way in ways[:MAX_PROPOSALS]:
        changes = [change for change in way.get("changes", []) if isinstance(change, dict)]
        proposal = propose(changes) if propose and changes else None
        text = proposal.flags if proposal else ", ".join(map(change_text, changes))
        matches = way.get("matches")
        count = f"  ({matches} would match)" if isinstance(matches, int) else ""
        lines.append(f"closest: {safe(text)}{count}")
        if proposal and not line:
            line = proposal.line
    return [*lines, f"  {safe(line)}"] if line and command else lines


def weights_lines(seen: Mapping[str, Any]) -> list[str]:
    """The strategy, its weights and what they mean; nothing from an older node."""
    from node.job_file.ranking import describe_weights

    weights = seen.get("weights")
    if not isinstance(weights, dict):
        return []
    told = ", ".join(f"{safe(name)} {safe(value)}" for name, value in weights.items())
    known = [weights.get(term) for term in ("cost", "speed", "reliability", "latency")]
    meaning = describe_weights(tuple(known)) if all(isinstance(one, int) for one in known) else ""  # type: ignore[arg-type]
    nano = (seen.get("going_price") or {}).get("nano_per_gpu_second")
    going = f"; the going price is {price(seen['going_price'])}" if nano else ""
    return [f"{safe(seen.get('strategy', 'custom'))}: {told}", *([meaning + going] if meaning else [])]


def _why(term: str, candidate: Mapping[str, Any]) -> str:
    run, image, moved = (candidate.get(key) for key in ("expected_ms", "image_ms", "transfer_ms"))
    if term == "compute" and isinstance(run, int):
        needed = candidate.get("needed_ms")
        late = (
            f"; cut off there: it needs {format_duration(needed)}" if isinstance(needed, int) and needed > run else ""
        )
        return f"{format_duration(run)} at {price(candidate.get('price'))}{late}"
    if term == "image" and isinstance(image, int):
        return f"{format_duration(image)} to fetch the image" if image else "it is there, or its size is not known"
    if term == "transfer" and isinstance(moved, int):
        return f"{format_duration(moved)} for inputs and outputs" if moved else "nothing to move"
    if term == "risk" and isinstance(candidate.get("failure_permille"), int):
        return f"{candidate['failure_permille']} of 1000 such leases fail"
    return "gas of a lane to this provider" if term == "opening" else ""
