"""A process of the ledger's tests: `worker.py FOLDER FIRST COUNT END`.

Records COUNT requests from number FIRST on, says `ready`, and then `close`s, `exit`s without closing, or `wait`s to be killed
with one more attempt open.
"""

import os
import sys
import time
from pathlib import Path

from ledger.made import request, started
from podium.ledger import Ledger


def main(folder: str, first: str, count: str, end: str) -> None:
    ledger = Ledger.open(Path(folder), segment_bytes=20_000)
    for number in range(int(first), int(first) + int(count)):
        opened, settled, ended = request(number)
        ledger.started(opened)
        ledger.settled(settled)
        ledger.ended(ended)
    if end == "wait":
        ledger.started(started(int(first) + int(count)))
        ledger.flush()
        print("elected" if ledger.statistics().elected else "ready", flush=True)
        time.sleep(60)
    print("ready", flush=True)
    if end == "close":
        ledger.close()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
