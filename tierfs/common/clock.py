"""Where the time comes from, so that a test can set it."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns nanoseconds since the epoch (CLOCK_REALTIME)."""

system_clock: Clock = time.time_ns
