"""How long to wait before trying again what fails because somebody is away: longer each time, and never in step.

Pure but for the random numbers it is given. It never gives up; that is for its user to decide.
"""

from __future__ import annotations

from random import Random

FIRST_S = 0.5
LAST_S = 15.0


class RetryPause:
    """The pauses of one series of failures: half a second, doubled each time up to fifteen seconds.

    Args:
        rng: spreads each pause over half to one and a half of it, so that those who lost the same peer do not all
            come back at once. Without one they are exact.
    """

    def __init__(self, rng: Random | None = None) -> None:
        self._rng = rng
        self._next_s = FIRST_S
        self.failures = 0
        """How many failures there were since the last success."""

    def failed(self) -> float:
        """Count a failure; returns how many seconds to wait now."""
        self.failures += 1
        pause, self._next_s = self._next_s, min(self._next_s * 2, LAST_S)
        return pause * (self._rng.uniform(0.5, 1.5) if self._rng is not None else 1.0)

    def succeeded(self) -> int:
        """Begin anew; returns how many failures came before."""
        failures, self.failures, self._next_s = self.failures, 0, FIRST_S
        return failures
