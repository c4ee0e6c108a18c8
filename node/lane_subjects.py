"""What a lane proof is about: one award, or one proposal to close. Both sides derive the same 32 bytes."""

from __future__ import annotations

from market.signing import digest


def award_subject(requester: bytes, provider: bytes, bid_id: bytes) -> bytes:
    """The award of this requester to this provider for this bid."""
    return digest(b"computefabric/lane-award/1\0", requester, provider, bid_id)


def close_subject(requester: bytes, epoch: int, cumulative: int, deadline_s: int) -> bytes:
    """The proposal, sent by this requester, to close the lane's epoch at this split."""
    figures = epoch.to_bytes(8, "big") + cumulative.to_bytes(12, "big") + deadline_s.to_bytes(8, "big")
    return digest(b"computefabric/lane-close/1\0", requester, figures)
