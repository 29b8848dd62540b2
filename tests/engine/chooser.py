"""A process that lets rollouts choose without a pause: run as a program by the tests and the benchmark of rollbacks.

It is given a data folder and `max_stale`. For each line that it reads it writes one: for each rollout and user the arm that was
chosen last, and when the candidate was last chosen (CLOCK_MONOTONIC, which all processes share). It ends with its input.
"""

from __future__ import annotations

import json
import logging
import select
import sys
import time

from podium import Models, create_models
from podium.engine.rollout.choice import Asker

ROLLOUTS = {
    "chat": {"legacy": "local/old", "candidate": "local/new", "percent": 100, "test_users": ["ann"], "rules": []},
    "half": {"legacy": "local/old", "candidate": "local/new", "percent": 50, "test_users": ["ann", "bob"]},
    "done": {"legacy": "local/old", "candidate": "local/new", "percent": 100},
}
ASKERS = {name: Asker(user_id=name) for name in ("ann", "bob")}
PAUSE_S = 0.001
"""Between two rounds of choices: this is how exactly the benchmark can tell."""


def models_over(folder: str, max_stale: str) -> Models:
    """Make the models that all processes of a test make."""
    return create_models(providers={"local": {}}, rollouts=ROLLOUTS, data_dir=folder, max_stale=max_stale)


def main() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    rollouts = models_over(sys.argv[1], sys.argv[2]).rollouts
    rollouts.list()
    arms: dict[str, str] = {}
    last: dict[str, int] = {}
    while True:
        for rollout in ROLLOUTS:
            for user, asker in ASKERS.items():
                place = f"{rollout} {user}"
                arms[place] = rollouts.choose_in(rollout, asker).arm
                if arms[place] == "candidate":
                    last[place] = time.monotonic_ns()
        if select.select([sys.stdin], [], [], PAUSE_S)[0]:
            if not sys.stdin.readline():
                break
            print(json.dumps({"arms": arms, "last": last}), flush=True)
    rollouts.close()


if __name__ == "__main__":
    main()
