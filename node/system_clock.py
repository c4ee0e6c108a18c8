"""The real UTC clock."""

from __future__ import annotations

import time


class SystemClock:
    """UTC milliseconds from the operating system."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000
