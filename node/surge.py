"""The slow surge: a provider's price follows how much of its machine is in use. Off unless its owner switched it on.

The rule is :func:`market.pricing.surge`. A running lease keeps the price of its award, and the old tag is honoured for
a moment, so nobody pays more than what he took.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from market.money import format_hourly
from market.pricing import TARGET_USE, smoothed_use, surge
from node.machine import Machine

log = logging.getLogger(__name__)

STEP_S = 60.0


class Surge:
    """Moves the prices of those machines whose owner wants it.

    Args:
        changed: called when the offers must be posted anew.
    """

    def __init__(self, machines: list[Machine], changed: Callable[[], None]) -> None:
        self._machines = [machine for machine in machines if machine.description.surge]
        self._changed = changed
        # Nothing is known at the start: as if all were well, or each restart would move the price by itself.
        self._used = {machine.description.name: TARGET_USE for machine in self._machines}

    async def run_forever(self) -> None:
        """One step every :data:`STEP_S`."""
        while self._machines:
            await trio.sleep(STEP_S)
            self.step()

    def step(self) -> None:
        """Look at the use of each machine and move its price. The use of a paused machine says nothing."""
        moved = [machine for machine in self._machines if not machine.draining and self._move(machine)]
        if moved:
            self._changed()

    def _move(self, machine: Machine) -> bool:
        sold = machine.description
        sample = 1000 * (sold.slots - machine.inventory.free_slots) // sold.slots
        used = self._used[sold.name] = smoothed_use(self._used[sold.name], sample)
        price = surge(sold.price, used, floor=sold.floor, cap=sold.price_cap)
        if price == sold.price:
            return False
        log.info("machine %s asks %s now, at %d.%d %% in use", sold.name, format_hourly(price), *divmod(used, 10))
        machine.reprice(price)
        return True
