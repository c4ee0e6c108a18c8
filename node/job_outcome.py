"""What is told to a job's owner when a lease begins and when it is over. Pure."""

from __future__ import annotations

from typing import Any

from eth_utils.address import to_checksum_address

from market.errors import InvalidRequest
from market.explain import WhyNot
from market.lease import LeaseState, Stage
from market.matching import Shortlist
from market.money import format_tokens
from market.records import Award, ExitReason, Lease
from market.signing import Verified, verify
from node.control import money, price_view
from node.gas_at_hand import GasMissing
from node.quantities import format_duration

GANG_LOST = "gang_incomplete"
_ERRORS: dict[ExitReason | None, tuple[str, str, bool]] = {
    ExitReason.ERROR: ("the program ended with a non-zero exit code", "see its output with 'cfab logs'", False),
    ExitReason.OOM: ("the job ran out of memory", "ask for more with resources.memory", False),
    ExitReason.TIME_LIMIT: ("the job reached its maximum duration", "raise max_duration", False),
    ExitReason.IMAGE: ("the provider could not get or accept the image", "check the image reference", True),
    ExitReason.START_FAILED: ("the container could not be started", "check the command", False),
    ExitReason.UNPAID: ("payments stopped: provider and requester lost each other", "submit it again", True),
    ExitReason.UNFUNDED: (
        "the money that was set aside for the job ran out, and no more came",
        "send tokens to the wallet; its outputs were kept",
        True,
    ),
    ExitReason.CANCELLED: ("the provider ended the job", "submit it again", True),
    ExitReason.DRAINED: ("the provider took its machine back", "submit it again", True),
    ExitReason.LOST: ("the provider was lost", "submit it again; unspent money comes back", True),
    None: ("the lease was not funded in time", "check the chain endpoint and the wallet", True),
}


def describe_lease(lease: Verified[Lease], *, gpu: str) -> dict[str, Any]:
    """The ``leased`` event: who, at what price, what it can cost at most and what can be lost at most."""
    award = verify(lease.record.award, Award).record
    state = LeaseState(
        price=award.price, slots=award.slots, max_duration_ms=award.max_duration_ms, terms=award.terms, since=0
    )
    return {
        "lease": lease.record.lease_id.hex(),
        "provider": award.provider.hex(),
        "machine": award.machine,
        "gpu": gpu,
        "price": price_view(award.price),
        "cap": money(state.cap),
        "exposure": money(state.exposure),
    }


def describe_outcome(
    state: LeaseState, error: InvalidRequest | None, *, cancelled: bool, because: str = "", said: str = ""
) -> tuple[str, dict[str, Any]]:
    """The terminal event of a job whose lease is over: its kind and its detail.

    Args:
        state: where the lease ended.
        error: why we ended it, if we had to.
        cancelled: whether the job was cancelled.
        because: the reason, where that was not its owner's wish.
        said: the provider's own sentence about the end.
    """
    if error is not None:
        detail = {"code": error.code, "message": error.message, "fix": error.fix, "retryable": False}
        return "failed", detail
    if cancelled and (state.exit_reason is ExitReason.CANCELLED or state.stage is Stage.LAPSED):
        return ("failed", describe_lost_gang(because)) if because else ("cancelled", {})
    if state.exit_reason is ExitReason.OK and state.exit_code == 0:
        return "succeeded", {"exit_code": 0}
    # The reason is the provider's word: "ok" with another code than 0 is an error like any other.
    reason = ExitReason.ERROR if state.exit_reason is ExitReason.OK else state.exit_reason
    message, fix, retryable = _ERRORS[reason]
    if said:
        message = f"{message}; the provider says: {said}"
    code = {ExitReason.ERROR: "exit", None: "not_funded"}.get(reason) or str(reason)
    return "failed", {
        "code": code,
        "message": message,
        "fix": fix,
        "retryable": retryable,
        "exit_code": state.exit_code,
    }


def describe_shortage(needed: int, have: int, *, machines: int = 1) -> dict[str, Any]:
    """The terminal event of a job that the wallet cannot set enough aside for: too few tokens, or its limit per day."""
    who = f"this job on {machines} machines" if machines > 1 else "this job"
    return {
        "code": "insufficient_funds",
        "message": f"{who} sets aside at least {format_tokens(needed)} tokens, "
        f"the wallet may spend {format_tokens(have)} now: {format_tokens(needed - have)} are missing",
        "fix": "send tokens to the wallet, or lower the maximum duration; when 'cfab wallet balance' shows enough, "
        "raise daily_limit under [wallet]",
        "retryable": True,
    }


def describe_gas_shortage(missing: GasMissing) -> dict[str, Any]:
    """The terminal event of a job for which the wallet cannot pay the chain to set anything aside."""
    return {
        "code": "gas_short",
        "message": f"the wallet {to_checksum_address(missing.account)} cannot pay for gas: it holds "
        f"{_gwei(missing.have)} gwei of the chain's own coin, and to set money aside for a job takes at least "
        f"{_gwei(missing.needed)}",
        "fix": "send the wallet some of the chain's own coin, or wait until gas is cheaper",
        "retryable": True,
    }


def _gwei(wei: int) -> str:
    return f"{wei // 10**9}.{wei % 10**9:09}".rstrip("0").rstrip(".")


def describe_lost_gang(why: str) -> dict[str, Any]:
    """The terminal event of a gang member that was ended because of another."""
    fix = "submit it again: the machines of a gang begin together or not at all"
    return {"code": GANG_LOST, "message": why, "fix": fix, "retryable": True}


def describe_no_match(found: Shortlist, reasons: WhyNot, *, waited_ms: int = 0, machines: int = 1) -> dict[str, Any]:
    """The terminal event of a job that nobody took.

    Args:
        found, reasons: what it was offered last, and why not more.
        waited_ms: how long it stood in the queue, if it was to.
        machines: how many it wanted at once.
    """
    if machines > 1:
        fitting = len(found.matches)
        message = (
            f"{machines} machines of different owners could not be had at once; {fitting} owners have one that fits"
        )
    elif found.matches:
        message = f"{len(found.matches)} offers fit, but none of their providers granted a lease"
    else:
        message = f"none of the {found.considered} live offers fits this job"
    if waited_ms:
        message += f", after {format_duration(waited_ms)} in the queue"
    fix = "see 'closest' for the smallest change that would match" if reasons.closest else "wait for other providers"
    return {"code": "no_match", "message": message, "fix": fix, "retryable": True}
