"""What a node knows of a provider that is not in its offer: measured, learned from its own receipts, never gossiped."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Permille = Annotated[int, Meta(ge=0, le=1000)]


class Known(Struct, frozen=True, kw_only=True):
    """Facts about one provider, all integers. The defaults are what is assumed of a stranger.

    Attributes:
        reputation: permille; 1000 is spotless.
        failure: permille of leases expected to fail by the provider's fault.
        rtt_us: measured round trip in microseconds, 0 when not measured.
        speed: measured speed, 1000 is one A100; 0 when there is nothing better than the offer's word.
        link_mbps: measured transfer rate in megabits per second; 0 when there is nothing better than the offer's word.
        dealt: whether it ever honoured an award of ours: such a one is no stranger posing as many.
        opening: token units that paying this provider costs in gas; 0 where a lane is open already.
    """

    reputation: Permille = 1000
    failure: Permille = 20
    rtt_us: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    speed: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    link_mbps: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    dealt: bool = False
    opening: Annotated[int, Meta(ge=0, le=2**53)] = 0


STRANGER = Known()
