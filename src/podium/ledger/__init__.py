"""The ledger: what was asked, what it cost, and proof that nothing is missing.

    engine -> Ledger.started/settled/ended -> journal (one segment file a process)
                                                 |  drainer: one process of all that share the folder
                                                 v
                                    ledger.sqlite3 (rows, sums) -> Ledger.usage, `podium usage`

What an engine has to do:

    ledger = Ledger.open(folder)            # or Ledger.open(None, store="memory:")
    ledger.started(start(request_id=..., ...))   # before the first byte goes upstream; may raise StoreError: send nothing then
    ledger.settled(settle(started, outcome=..., usage=..., cost_pico=pico_usd(cost)))            # once, whatever happened
    ledger.ended(Ended(request_id=..., requested_at=..., outcome="ok", ...))                     # once a request
    ledger.settled(settle(started, ..., request=RequestEnd("ok", ...)))         # or both at once, as nearly always
    ledger.close_request([settled, ...], ended)                  # or several attempts with their request: one write
    ledger.payload(started, "request", body)                                                     # if ledger.keeps_payloads
    await asyncio.to_thread(ledger.close)   # at the end

All but `close`, `flush`, `usage` and `reprice` return at once and may be called on an event loop. `requested_at` is the same
float in all records of a request. A request that was refused before anything was sent has an `Ended` alone.
"""

from podium.ledger.drain_thread import Retention
from podium.ledger.ledger import Ledger, Statistics
from podium.ledger.records import Ended, Payload, RequestEnd, Settled, Started, pico_usd, settle, start, usd
from podium.ledger.reprice import Repriced
from podium.ledger.store import REPLAY_TAG, Batch, Price, Priced, Question, Recording, Sought, Store, Sums, Unstorable
from podium.ledger.usage import UsageRow, total

__all__ = [
    "REPLAY_TAG",
    "Batch",
    "Ended",
    "Ledger",
    "Payload",
    "Price",
    "Priced",
    "Question",
    "Recording",
    "Repriced",
    "RequestEnd",
    "Retention",
    "Settled",
    "Sought",
    "Started",
    "Statistics",
    "Store",
    "Sums",
    "Unstorable",
    "UsageRow",
    "pico_usd",
    "settle",
    "start",
    "total",
    "usd",
]
