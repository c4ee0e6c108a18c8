"""Errors as the local API tells them: one shape, a status by who must act, and no text of a surprise."""

from __future__ import annotations

from typing import Any

from market.errors import BrokenInvariant, FabricError, InvalidRequest, PeerFault, Unavailable

API_VERSION = 2
"""Grows when a verb or a field is added that an older node would refuse. A node says its own with every refusal, in the
header :data:`API_HEADER`; one that says nothing is of the first."""
API_HEADER = "Cfab-Api"
_STATUS_BY_CODE = {
    "not_found": 404,
    "already_running": 409,
    "not_cancellable": 409,
    "no_lane": 404,
    "not_a_provider": 409,
    "insufficient_funds": 402,
    "wallet_locked": 423,
    "too_large": 413,
}


def error_status(error: FabricError) -> int:
    """The HTTP status for one of our errors."""
    if error.code in _STATUS_BY_CODE:
        return _STATUS_BY_CODE[error.code]
    if isinstance(error, InvalidRequest):
        return 400
    if isinstance(error, PeerFault):
        return 502
    return 503 if isinstance(error, Unavailable) else 500


def error_body(error: FabricError) -> dict[str, Any]:
    """The JSON body for one of our errors. ``retryable`` means that the same request may work later."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "fix": error.fix,
            "where": error.where,
            "retryable": isinstance(error, Unavailable),
        }
    }


def surprise() -> FabricError:
    """What is told when the node is at fault: the cause goes to its log, not to the caller."""
    return BrokenInvariant(
        "the node made a mistake; its log says more", code="internal", fix="please report it with the node's log"
    )
