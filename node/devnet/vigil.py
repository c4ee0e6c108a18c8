"""Follows one job while watching the market's processes: a dead one must end in a clear state, never in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
from msgspec import Struct

from market.errors import FabricError
from node.devnet.local_market import CHAIN, LocalMarket
from node.devnet.processes import Exit
from node.devnet.topology import FITTING, INTRODUCER, REQUESTER

PATIENCE_S = 75.0
"""How long a job may take to end after a death: two graces, the final payment, and the exit delay, with room."""
CHAIN_PATIENCE_S = 12.0
"""Without a chain nothing can settle: longer waiting would show nothing new."""
_NOTICE_S = 1.0


class Followed(Struct, frozen=True, kw_only=True):
    """How following ended: the job's terminal event or why there is none, and who died meanwhile."""

    final: dict[str, Any] | None = None
    error: FabricError | None = None
    deaths: tuple[Exit, ...] = ()


async def follow_watchfully(
    market: LocalMarket, follow: Callable[[], dict[str, Any]], tell: Callable[[Exit, str], None]
) -> Followed:
    """Run ``follow`` (it blocks, and returns the terminal event) in a thread until it ends, or it is in vain.

    Args:
        tell: told at once of every death, and what follows from it.
    """
    deaths: list[Exit] = []
    final: dict[str, Any] | FabricError | None = None
    async with trio.open_nursery() as nursery:
        following = trio.CancelScope()

        async def watch(name: str) -> None:
            gone = await market.processes.wait_exit(name)
            deaths.append(gone)
            tell(gone, consequence(name))
            following.deadline = min(following.deadline, trio.current_time() + _patience(name))

        for name in market.processes.tickets():
            nursery.start_soon(watch, name)
        with following:
            final = await trio.to_thread.run_sync(  # type: ignore[call-arg] # outdated third-party stubs
                _outcome, follow, abandon_on_cancel=True
            )
        # The stream of a killed requester breaks a moment before its death is noticed.
        if isinstance(final, FabricError) and not deaths:
            await trio.sleep(_NOTICE_S)
        nursery.cancel_scope.cancel()
    if isinstance(final, FabricError):
        return Followed(error=final, deaths=tuple(deaths))
    return Followed(final=final, deaths=tuple(deaths))


def consequence(name: str) -> str:
    """What the death of this process means for a job under way, in one sentence."""
    if name == CHAIN:
        return "nothing can be funded or settled until the chain is back; both journals keep what was promised"
    if name == INTRODUCER:
        return "newcomers cannot be introduced now; peers that have met go on without it"
    if name == REQUESTER:
        return "nobody signs vouchers now: the provider ends the job after its grace and redeems what it holds"
    if name == FITTING:
        return "if it had the job: the requester stops paying, and takes the rest back after the exit delay"
    return "its offer expires within a minute; nobody was waiting for it"


def _patience(name: str) -> float:
    return {REQUESTER: 0.0, CHAIN: CHAIN_PATIENCE_S}.get(name, PATIENCE_S)


def _outcome(follow: Callable[[], dict[str, Any]]) -> dict[str, Any] | FabricError:
    try:
        return follow()
    except FabricError as error:
        return error
