"""What each side has to do in each stage. A duty means "make sure that …": doing it twice does no harm.

What to resume after a crash follows from this table alone; there is no start-up code that fixes things up.
"""

from __future__ import annotations

from enum import StrEnum

from market.lease import Stage


class Role(StrEnum):
    """Which side of a lease this node is on."""

    PROVIDER = "provider"
    REQUESTER = "requester"


class Duty(StrEnum):
    """A task that lasts as long as its stage."""

    CONFIRM_FUNDING = "confirm_funding"
    START_CONTAINER = "start_container"
    KEEP_RUNNING = "keep_running"
    WIND_DOWN = "wind_down"
    COLLECT = "collect"
    RELEASE_SLOTS = "release_slots"
    FUND_LANE = "fund_lane"
    SEND_INPUTS = "send_inputs"
    ANSWER_REPORTS = "answer_reports"
    FETCH_OUTPUTS = "fetch_outputs"
    CLOSE_LANE = "close_lane"
    FREE_COVER = "free_cover"


DUTIES: dict[Stage, dict[Role, Duty]] = {
    Stage.GRANTED: {Role.PROVIDER: Duty.CONFIRM_FUNDING, Role.REQUESTER: Duty.FUND_LANE},
    Stage.FUNDED: {Role.PROVIDER: Duty.START_CONTAINER, Role.REQUESTER: Duty.SEND_INPUTS},
    Stage.RUNNING: {Role.PROVIDER: Duty.KEEP_RUNNING, Role.REQUESTER: Duty.ANSWER_REPORTS},
    Stage.ENDING: {Role.PROVIDER: Duty.WIND_DOWN, Role.REQUESTER: Duty.FETCH_OUTPUTS},
    Stage.SETTLING: {Role.PROVIDER: Duty.COLLECT, Role.REQUESTER: Duty.CLOSE_LANE},
    Stage.LAPSED: {Role.PROVIDER: Duty.RELEASE_SLOTS, Role.REQUESTER: Duty.FREE_COVER},
    Stage.SETTLED: {Role.PROVIDER: Duty.RELEASE_SLOTS, Role.REQUESTER: Duty.FREE_COVER},
    Stage.RECLAIMED: {Role.PROVIDER: Duty.RELEASE_SLOTS, Role.REQUESTER: Duty.FREE_COVER},
}


def duty(stage: Stage, role: Role) -> Duty:
    """The one duty of ``role`` in ``stage``."""
    return DUTIES[stage][role]
