"""What the guard promises, measured through its own code: false alarms, requests to an alarm, requests to a promotion.

Simulated users ask at a 10 % canary; legacy fails 1 %, the margin is one point, alpha 1 %, beta 5 %. The published figures are
those of one game without restarts; beside them stands what restarts by the hour cost a candidate that is bad from the start.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from random import Random

from podium.routing.eprocess import log_mean_exp
from podium.routing.guard import Baseline, Evidence, Guard, Observation, Tally, merge
from podium.routing.rollout import Arm, Hash, Rollout, decide
from podium.routing.verdict import find

SEED = 20_260_401
LEGACY = 0.01
CANARY = 0.10
PUBLISHED = {0.03: (3434, 6679), 0.05: (600, 1134), 0.10: (162, 267), 0.30: (41, 56), 1.00: (12, 13)}
PROMOTION = {0.01: 1442, 0.02: 561}
RUNS = {0.03: 60, 0.05: 200, 0.10: 400, 0.30: 400, 1.00: 400}

Draw = Callable[[Random], tuple[Arm, str, bool]]


def _fresh(candidate: float) -> Draw:
    """Return requests of users who come once."""
    numbers = iter(range(10**9))

    def draw(random: Random) -> tuple[Arm, str, bool]:
        if random.random() < CANARY:
            return "candidate", str(next(numbers)), random.random() < candidate
        return "legacy", str(next(numbers)), random.random() < LEGACY

    return draw


def _sticky(random: Random, users: int) -> Draw:
    """Return requests of users in fixed arms, the heavy ones often; two in a hundred fail half of theirs in either arm."""
    arms: list[Arm] = ["candidate" if random.random() < CANARY else "legacy" for _ in range(users)]
    fails = [0.5 if random.random() < 0.02 else 0.0 for _ in range(users)]

    def draw(random: Random) -> tuple[Arm, str, bool]:
        user = min(int(random.paretovariate(0.8)) - 1, users * 50) % users
        return arms[user], str(user), random.random() < fails[user]

    return draw


def _run(guard: Guard, draw: Draw, random: Random, most: int, passes: bool = False, pace_s: float = 0.0) -> int | None:
    """Return how many candidate requests the evidence took; None where so many requests gave none."""
    tally, seen, evidence, asked = Tally(guard, Baseline()), set[str](), Evidence(), 0
    for number in range(most):
        arm, user, failed = draw(random)
        at = number * pace_s
        asked += arm == "candidate"
        step = min(number * 6 // most, 5) if pace_s else 0
        tally.observe(Observation(arm=arm, unit_id=user, failed=failed), step=step, at=at, seen=seen)
        taken = tally.take()
        if not taken.cells:
            continue
        evidence = merge((Evidence(cells=evidence.cells), taken))
        if passes:
            if log_mean_exp(evidence.cells[0].sums.within) >= guard.pass_at:
                return asked
        elif find(guard, evidence, "error_rate", step=step, ramp_began_at=0).alarmed:
            return asked
    return None


def _detection() -> None:
    print("Candidate requests to an alarm, median / p90 (10 % canary, legacy fails 1 %)")
    print(f"{'fails':>6} {'runs':>5} {'published':>14} {'one game':>14} {'ratio':>12} {'restarts':>14} {'ratio':>12}")
    for fails, published in PUBLISHED.items():
        cells = []
        for guard in (Guard(restart_s=None), Guard()):
            random = Random(SEED)
            found = sorted(_run(guard, _fresh(fails), random, 400_000) or 10**9 for _ in range(RUNS[fails]))
            median, p90 = statistics.median(found), found[int(0.9 * len(found))]
            cells.append((f"{median:,.0f}/{p90:,.0f}", f"{median / published[0]:.2f}/{p90 / published[1]:.2f}"))
        (one, ratio), (restarts, other) = cells
        print(
            f"{fails:>6.0%} {RUNS[fails]:>5} {published[0]:>8,}/{published[1]:<6,}{one:>13} "
            f"{ratio:>12} {restarts:>14} {other:>12}"
        )


def _false_alarms() -> None:
    print("\nFalse alarms at alpha 1 %, looked at after every block, 6,000 requests a run, restarts by the hour")
    random, runs = Random(SEED + 1), 200
    cases: list[tuple[str, Callable[[], Draw]]] = [
        ("equal arms", lambda: _fresh(LEGACY)),
        ("exactly at the margin", lambda: _fresh(LEGACY + 0.01)),
        ("sticky heavy users, A/A", lambda: _sticky(random, 3000)),
    ]
    for name, draw in cases:
        alarms = sum(_run(Guard(), draw(), random, 6_000, pace_s=5.0) is not None for _ in range(runs))
        print(f"  {name:<26}{alarms:>4} of {runs}")


def _promotions() -> None:
    print("\nCandidate requests to a promotion, equal arms, median")
    for margin, published in PROMOTION.items():
        guard, random = Guard(margins={"error_rate": margin}, restart_s=None), Random(SEED + 2)
        median = statistics.median(_run(guard, _fresh(LEGACY), random, 200_000, True) or 10**9 for _ in range(60))
        print(f"  margin {margin:.0%}: {median:,.0f}, published {published:,}, ratio {median / published:.2f}")


def _decisions() -> None:
    print("\nA decision, CPU (aim <= 3 us)")
    hashes: tuple[Hash, ...] = ("sha256", "legacy_js")
    for hash in hashes:
        rollout = Rollout(name="chat", candidate="tier:high", percent=10, hash=hash, test_users=("researcher-1", "test-user"))
        users = [f"user-{number}" for number in range(20_000)]
        took = []
        for _ in range(5):
            began = time.process_time()
            for user in users:
                decide(rollout, user_id=user, unit_id=user)
            took.append((time.process_time() - began) / len(users) * 1e6)
        print(f"  {hash:<10}{statistics.median(took):6.2f} us")


def main() -> None:
    """Measure and print."""
    print(f"The guard, seeds {SEED} to {SEED + 2}")
    _detection()
    _false_alarms()
    _promotions()
    _decisions()


if __name__ == "__main__":
    main()
