"""From a change that would let a job match to the flags that make it. Pure.

A change names a field of the job as the node has it; a flag often means something coarser, or several fields at once.
So the wanted job is made first, then flags that might lead to it, and whoever prints them asks the job's own parser
first whether they do (:func:`is_as_loose`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from market.feasibility import GROUPS, driver_number, same_model, within_region
from market.money import NANO_MS_PER_UNIT, amount_due, format_tokens
from market.records import Requirements
from node.cli import flag_text
from node.job_file.request import JobRequest
from node.quantities import format_memory

Change = dict[str, Any]
"""``rule``, ``field`` and ``value``, as in a ``matching`` event."""
Flags = dict[str, Any]
"""Parameter → text, texts, or True; None: without this flag."""

_AT_LEAST = (
    "vram_mib",
    "cpu_milli",
    "memory_mib",
    "disk_mib",
    "slots",
    "cuda_milli",
    "min_reputation",
    "min_notice_ms",
)
_WISHES = ("interruptible", "allow_simulated")
_SWITCHED_ON = {"interruptible": "--interruptible", "allow_simulated": "--simulated"}
_SHOWN: dict[str, tuple[str, Callable[[int], str]]] = {
    "max_price": ("--max-price", flag_text.price_text),
    "max_total": ("--max-total", format_tokens),
    "cpu_milli": ("--cpu", flag_text.cores_text),
    "memory_mib": ("--memory", format_memory),
    "disk_mib": ("--disk", format_memory),
    "cuda_milli": ("--cuda", flag_text.cuda_text),
    "min_reputation": ("--min-reputation", flag_text.share_text),
    "min_notice_ms": ("--min-notice", flag_text.duration_text),
    "max_rtt_us": ("--max-rtt", flag_text.round_trip_text),
}


def loosened(request: JobRequest, changes: Sequence[Change]) -> JobRequest:
    """The job with all changes made. Both of its money caps are raised as far as a dearer price needs."""
    needs, price = request.spec.requirements, 0
    for change in changes:
        field, value = str(change.get("field")), change.get("value")
        if field == "max_price" and isinstance(value, int):
            price = value
        elif field == "max_total" and isinstance(value, int):
            request = replace(request, max_total=max(request.max_total, value))
        elif field in ("max_rtt_us", "allow", "deny"):
            request = replace(request, **{field: _new_value(getattr(request, field), field, value)})
        elif field in Requirements.__struct_fields__:
            needs = replace(needs, **{field: _new_value(getattr(needs, field), field, value)})
    request = replace(request, spec=replace(request.spec, requirements=needs))
    if not price:
        return request
    total = max(request.max_total, request.machines * amount_due(price, _gpu_ms(request)))
    return replace(request, max_price=max(request.max_price, price), max_total=total)


def _new_value(old: Any, field: str, value: Any) -> Any:
    """A list is given whole, or by the one word that is missing from it."""
    if not isinstance(old, tuple):
        return value
    if isinstance(value, list | tuple):
        return tuple(value)
    if field == "deny":
        return tuple(one for one in old if one != value)
    return (*old, value)


def flags_for(request: JobRequest, wanted: JobRequest) -> Iterator[Flags]:
    """Flags that may turn one job into the other, what changes least first.

    What a job may cost is said by a price, by a total, or by both, and which of them its owner gave cannot be seen
    from the job: all three are tried.
    """
    flags = {**_machine_flags(request, wanted), **_provider_flags(request, wanted)}
    if (wanted.max_price, wanted.max_total) == (request.max_price, request.max_total):
        yield flags
        return
    needed = _affordable(wanted)
    price = {"max_price": flag_text.price_text(needed)}
    total = {"max_total": flag_text.total_text(needed, _gpu_ms(wanted), wanted.machines)}
    for money in (price, total, {**price, **total}):
        yield {**flags, **money}


def is_as_loose(request: JobRequest, wanted: JobRequest) -> bool:
    """Whether every offer that fits ``wanted`` fits ``request`` too."""
    have, need = request.spec.requirements, wanted.spec.requirements
    return (
        _affordable(request) >= _affordable(wanted)
        and all(getattr(have, field) <= getattr(need, field) for field in _AT_LEAST)
        and all(getattr(have, field) or not getattr(need, field) for field in _WISHES)
        and (not have.vram_max_mib or have.vram_max_mib >= need.vram_max_mib > 0)
        and driver_number(have.driver) <= driver_number(need.driver)
        and have.runtime in ("", need.runtime)
        and _covers(have.gpus, need.gpus, same_model)
        and _covers(have.regions, need.regions, within_region)
        and _covers(have.jurisdictions, need.jurisdictions, lambda one, by: one == by or one in GROUPS.get(by, ()))
        and (not request.max_rtt_us or request.max_rtt_us >= wanted.max_rtt_us > 0)
        and (not request.allow or (bool(wanted.allow) and set(wanted.allow) <= set(request.allow)))
        and set(request.deny) <= set(wanted.deny)
    )


def change_text(change: Change) -> str:
    """One change in words, for where the owner's own command is not known."""
    field, value = str(change.get("field")), change.get("value")
    if isinstance(value, list | tuple):
        return f"{field} {', '.join(map(str, value)) or 'any'}"
    if field in _SWITCHED_ON:
        return _SWITCHED_ON[field]
    if field == "max_rtt_us" and not value:
        return "without --max-rtt"
    if field == "vram_mib" and not value:
        return "without --gpu: machines without a GPU too"
    if not isinstance(value, int) or field not in _SHOWN:
        return f"{field} {value}"
    flag, text = _SHOWN[field]
    return f"{flag} {text(value)}" + (" for each GPU" if flag in ("--cpu", "--memory", "--disk") else "")


def _machine_flags(request: JobRequest, wanted: JobRequest) -> Flags:
    old, new = request.spec.requirements, wanted.spec.requirements
    flags: Flags = {}
    if flag_text.gpu_text(old) != flag_text.gpu_text(new) or old.vram_mib != new.vram_mib:
        flags["gpu"] = flag_text.gpu_text(new) or None
    # Amounts are typed for the whole job: with fewer cards the same text would ask more of each.
    for flag, field, text in (
        ("cpu", "cpu_milli", flag_text.cores_text),
        ("memory", "memory_mib", format_memory),
        ("disk", "disk_mib", format_memory),
    ):
        before, after = getattr(old, field) * old.slots, getattr(new, field) * new.slots
        if before != after:
            flags[flag] = text(after) if after else None
    memory = new.memory_mib * new.slots
    if "memory" in flags and memory < request.spec.shm_mib:
        flags["shm"] = format_memory(memory)
    if old.cuda_milli != new.cuda_milli:
        flags["cuda"] = flag_text.cuda_text(new.cuda_milli) if new.cuda_milli else None
    for flag in ("driver", "runtime"):
        if getattr(old, flag) != getattr(new, flag):
            flags[flag] = getattr(new, flag) or None
    if new.allow_simulated and not old.allow_simulated:
        flags["simulated"] = True
    return flags


def _provider_flags(request: JobRequest, wanted: JobRequest) -> Flags:
    old, new = request.spec.requirements, wanted.spec.requirements
    flags: Flags = {}
    for flag, field in (("region", "regions"), ("jurisdiction", "jurisdictions")):
        if getattr(old, field) != getattr(new, field):
            flags[flag] = tuple(getattr(new, field)) or None
    for flag in ("allow", "deny"):
        if getattr(request, flag) != getattr(wanted, flag):
            flags[flag] = tuple(getattr(wanted, flag)) or None
    if old.min_reputation != new.min_reputation:
        flags["min_reputation"] = flag_text.share_text(new.min_reputation)
    if new.interruptible and not old.interruptible:
        flags["interruptible"] = True
    if old.min_notice_ms != new.min_notice_ms:
        flags["min_notice"] = flag_text.duration_text(new.min_notice_ms) if new.min_notice_ms else None
    if request.max_rtt_us != wanted.max_rtt_us:
        flags["max_rtt"] = flag_text.round_trip_text(wanted.max_rtt_us) if wanted.max_rtt_us else None
    return flags


def _affordable(request: JobRequest) -> int:
    """The highest price at which the job stays within both of its caps, as the node counts it."""
    return min(request.max_price, request.max_total // request.machines * NANO_MS_PER_UNIT // _gpu_ms(request))


def _gpu_ms(request: JobRequest) -> int:
    return request.spec.max_duration_ms * request.spec.requirements.slots


def _covers(have: tuple[str, ...], need: tuple[str, ...], within: Any) -> bool:
    """Whether one of ``have`` lets each of ``need`` through; an empty tuple means any."""
    return not have or (bool(need) and all(any(within(one, by) for by in have) for one in need))
