"""What a `Models` keeps of its requests: prices, the ledger, and who observes.

Theory. These outlive a snapshot: an update of a provider swaps what is asked, not what was counted. They are opened when the
first request needs them, so that making a `Models` touches no file and starts no thread.

Rules.
- Nothing here may fail or delay a request: what cannot be opened is a problem in `problems`, and the ledger goes on in memory.
- Price data takes a moment to load; the first request begins to load it on a thread, beside its own way to the provider.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from podium.catalog.pricing import Found, PriceBook
from podium.engine.endpoint import Endpoint
from podium.engine.prices import load_prices
from podium.errors import StoreError
from podium.ledger import Ledger, Retention
from podium.observe.metrics import Metrics
from podium.observe.observers import Observers
from podium.routing.snapshot import Snapshot

_METRICS_FOLDER = "metrics"


class Books:
    """The prices, ledger and observers of one `Models`."""

    def __init__(self, snapshot: Snapshot, *, throttled: Callable[[], Mapping[str, float]]) -> None:
        self._snapshot = snapshot
        self._lock = threading.Lock()
        self._pricing: PriceBook | None = None
        self._loading: threading.Thread | None = None
        self._ledger: Ledger | None = None
        self._opened = False
        self.track_cost = snapshot.track_cost
        self.problems: list[str] = []
        """What is wrong with the books, in sentences for the user."""
        self.metrics = Metrics(
            track_performance=snapshot.track_performance,
            track_cost=snapshot.track_cost,
            throttled=throttled,
            failures=lambda: self.observers.failures(),
        )
        self.observers = Observers([self.metrics])

    # --- prices ---------------------------------------------------------------------------------------------------------

    @property
    def pricing(self) -> PriceBook:
        """All prices; loaded when first asked for."""
        if self._pricing is None:
            with self._lock:
                if self._pricing is None:
                    self._pricing = load_prices(self._snapshot.pricing_cache, self._snapshot.prices)
        return self._pricing

    def warm(self, endpoint: Endpoint) -> None:
        """Begin to load what the price of this endpoint needs, on a thread, the first time."""
        if self.track_cost and self._loading is None:
            self._loading = threading.Thread(target=self.price, args=(endpoint,), name="podium-prices", daemon=True)
            self._loading.start()

    def price(self, endpoint: Endpoint) -> Found | None:
        """The price of what an endpoint sells; None where none is known, or costs are not tracked."""
        if not self.track_cost:
            return None
        if endpoint.price is None:
            target, provider = endpoint.target, endpoint.provider
            entry = provider.models.get(target.model)
            endpoint.price = (
                self.pricing.find(
                    provider.kind,
                    endpoint.upstream,
                    priced_as=None if entry is None else entry.priced_as,
                    names=(str(target), f"{target.provider}/{endpoint.upstream}"),
                ),
            )
        return endpoint.price[0]

    # --- the ledger -----------------------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger | None:
        """The ledger; opened when first asked for. None: the config wants none."""
        if not self._opened:
            with self._lock:
                if not self._opened:
                    self._ledger = self._open()
                    self._opened = True
        return self._ledger

    def _open(self) -> Ledger | None:
        settings, folder = self._snapshot.ledger, self._snapshot.data_dir
        if settings.store == "none":
            return None
        usual = Retention()
        retention = Retention(
            usual.age_s if settings.keep_s is None else settings.keep_s,
            usual.most_bytes if settings.keep_bytes is None else settings.keep_bytes,
        )
        if settings.store == "sqlite" and folder is not None:
            try:
                return Ledger.open(
                    Path(folder),
                    fsync=settings.fsync,
                    on_full=settings.on_full,
                    payloads=settings.payloads,
                    retention=retention,
                )
            except StoreError as error:
                if settings.on_full == "refuse":
                    raise
                self.problems.append(f"{error} Until then the ledger is in memory, and ends with the process.")
        return Ledger.open(None, store="memory:", payloads=settings.payloads, retention=retention)

    def close(self) -> None:
        """Give what is in the journal to the store, and end the threads. It blocks for a moment."""
        with self._lock:
            ledger, self._ledger, self._opened = self._ledger, None, False
        if ledger is not None:
            ledger.close()
