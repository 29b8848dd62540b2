"""A process that changes rollouts: run as a program by the tests.

It is given the store's path, a name and a count; when it is told to, it adds so many test users, each a change of its own.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from podium.coordination.rollouts import SqliteRollouts
from podium.engine.rollout.counts import Counts
from podium.routing.rollout import Rollout


def with_user(user: str, rollout: Rollout) -> Rollout:
    return rollout.replace(test_users=(*rollout.test_users, user))


def main() -> None:
    path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    store, counts = SqliteRollouts(path), Counts()
    print("ready", flush=True)
    sys.stdin.readline()
    store.open({"chat": Rollout(name="chat", candidate="tier:high")}, who=name)
    for number in range(count):
        store.change("chat", "add_user", partial(with_user, f"{name}-{number}"), who=name, why=None)
        counts.add("chat", "candidate")
        counts.try_to_flush(store)
    while counts.failures:  # the file was busy: they are kept
        counts.try_to_flush(store)


if __name__ == "__main__":
    main()
