"""When a target may be asked again, and the errors that say that this is too late.

Theory. A provider in trouble is helped by being asked later, and by its askers not coming back all at once: the delays double
and half of each is drawn ("equal jitter", AWS Architecture Blog, "Exponential Backoff And Jitter"). A provider that says when
to come back (Retry-After, RFC 9110 section 10.2.3) is believed: nobody asks it before.

Rules.
- A delay is a number of seconds, an instant is on the clock of `View.now`.
- What could only begin at or after `View.deadline` does not begin.
- Retries are counted for each request. A budget that all requests share, once there is one, is a field of `View` that
  `retry_at` asks before it gives an instant.
"""

from __future__ import annotations

from collections.abc import Iterable

from podium.errors import PodiumError, Throttled, TimedOut
from podium.routing.spelling import joined
from podium.routing.strategies.machine import View
from podium.types import Target

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 8.0


def delay_s(retry: int, draw: float) -> float:
    """Return how long to wait before a retry, in seconds.

    `retry` counts a target's retries from 0; `draw` is a random number in [0, 1). The whole delay is 0.5 s, doubling to 8 s;
    at least half of it is waited.
    """
    whole = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(retry, 16))
    return whole * (1.0 + draw) / 2.0


def free_at(target: Target, view: View) -> float:
    """Return the instant from which a target may be asked: now, or when its Retry-After is over."""
    return max(view.now, view.not_before.get(target, view.now)) if view.not_before else view.now


def retry_at(target: Target, error: PodiumError, retry: int, view: View) -> float:
    """Return the instant of a target's retry: after its delay, and not before the provider's own word."""
    wait = delay_s(retry, view.draw)
    if error.retry_after_s is not None and error.retry_after_s > wait:
        wait = error.retry_after_s
    return max(view.now + wait, free_at(target, view))


def too_late(targets: Iterable[Target], view: View) -> Throttled:
    """Return the error for targets none of which may be asked before the request's time is over."""
    known = {target: free_at(target, view) for target in targets}
    first = min(known, key=known.__getitem__)
    wait = known[first] - view.now
    names = joined(map(str, known), word="and")
    for_s = f", {first} for another {wait:.1f} s" if len(known) > 1 else f" for another {wait:.1f} s"
    return Throttled(
        f"{names} asked to be left alone{for_s}, and the request has {max(0.0, view.deadline - view.now):.1f} s left.",
        target=str(first),
        retry_after_s=wait,
        hint=f"Ask again in {wait:.1f} s, give the request a longer `timeout`, or add a target of another provider.",
    )


def timed_out(state: str, began_at: float, view: View) -> TimedOut:
    """Return the error for a request whose time is over. `state` says how far it had come, as a clause."""
    return TimedOut(
        f"The request was given {view.deadline - began_at:.1f} s; when they were over, {state}.",
        hint="Give it a longer `timeout`, or put a faster target first.",
    )
