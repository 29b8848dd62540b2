"""Waits until something holds: what another task, thread or process does takes its time where the machine is busy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

MOST_S = 20.0


async def until(true: Callable[[], object], most_s: float = MOST_S) -> None:
    """Let other tasks go on until something holds."""
    due = time.monotonic() + most_s
    while not true():
        assert time.monotonic() < due, f"it did not come to that within {most_s:g} s"
        await asyncio.sleep(0.005)


def wait_until(true: Callable[[], object], most_s: float = MOST_S) -> None:
    """Block until something holds, and keep nobody from work meanwhile."""
    due = time.monotonic() + most_s
    while not true():
        assert time.monotonic() < due, f"it did not come to that within {most_s:g} s"
        time.sleep(0.005)
