"""What a `Models` keeps of its requests: prices, the ledger, and who observes.

Theory. These outlive a snapshot: an update of a provider swaps what is asked, not what was counted. They are opened when the
first request needs them, so that making a `Models` touches no file and starts no thread.

Rules.
- Nothing here may fail or delay a request: what cannot be opened is a problem in `problems`, and the ledger goes on in memory.
- Price data takes a moment to load; the first request begins to load it on a thread, beside its own way to the provider.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.catalog.pricing import Found, PriceBook
from podium.engine.endpoint import Endpoint
from podium.engine.prices.book import find_target, load_prices
from podium.errors import StoreError
from podium.ledger import Ledger, Retention
from podium.observe.metrics import Metrics
from podium.observe.observers import Observer, Observers
from podium.observe.share import Publisher
from podium.routing.health import BreakerState
from podium.routing.snapshot import Snapshot

if TYPE_CHECKING:
    from podium.coordination.coordinator import Coordinator
    from podium.coordination.limits import Limits

_LOG = logging.getLogger("podium.ledger")
_LOOK_EVERY_S = 10.0
"""How often a running process looks whether new prices were fetched."""
_FORK_WAIT_S = 5.0
"""What a fork waits for a file to be opened or prices to be loaded; rather that than a child that hangs."""
_METRICS_FOLDER = "metrics"
_LIMITS_FILE = "limits.sqlite3"


class Books:
    """The prices, ledger and observers of one `Models`."""

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        throttled: Callable[[], Mapping[str, float]],
        breakers: Callable[[], Mapping[str, BreakerState]],
    ) -> None:
        self._snapshot = snapshot
        self._lock = threading.Lock()
        self._price_lock = threading.Lock()
        """Held while prices load, which no request under way may wait for."""
        self._held: list[threading.Lock] = []
        """What a fork that is on its way holds."""
        self._pricing: PriceBook | None = None
        self._look_at = 0.0
        self._seen: tuple[int, int, int] | None = None
        """Which file of fetched prices was read, and as it was when."""
        self._loading: threading.Thread | None = None
        self._ledger: Ledger | None = None
        self._opened = False
        self._limits: Limits | None = None
        self._publisher: Publisher | None = None
        self.track_cost = snapshot.track_cost
        self.prices_come_first = self._must_price()
        """Whether a price must be known before an attempt is sent: a ledger that outlives the process says what it may cost."""
        self.problems: list[str] = []
        """What is wrong with the books, in sentences for the user."""
        self.metrics = Metrics(
            track_performance=snapshot.track_performance,
            track_cost=snapshot.track_cost,
            throttled=throttled,
            breakers=breakers,
            failures=lambda: self.observers.failures(),
        )
        self._all_observers: list[Observer] = [self.metrics]
        self.observers = Observers(self._all_observers)

    def is_open(self, *, limits: bool) -> bool:
        """Whether what the next request needs is open."""
        return self._opened and not (limits and self._limits is None)

    def open(self, *, limits: bool) -> None:
        """Open what requests need. It may touch the disk: not for an event loop."""
        _ = self.ledger
        if limits:
            _ = self.limits

    # --- prices ---------------------------------------------------------------------------------------------------------

    @property
    def pricing(self) -> PriceBook:
        """All prices; loaded when first asked for."""
        book = self._pricing
        if book is None or time.monotonic() >= self._look_at:
            with self._price_lock:
                book = self._pricing = self._look(self._pricing)
        return book

    def _look(self, book: PriceBook | None) -> PriceBook:
        """Load the prices, anew where the file of fetched prices has changed; under the lock."""
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        path = self._snapshot.pricing_cache
        seen = None
        if path is not None:
            with suppress(OSError):  # a file that is not there yet has no prices
                found = Path(path).stat()
                seen = (found.st_ino, found.st_size, found.st_mtime_ns)  # the clock's tick alone may be that of the last look
        if book is None or seen != self._seen:
            self._seen = seen
            book = load_prices(path, self._snapshot.prices)
        return book

    def warm(self, endpoint: Endpoint) -> None:
        """Begin to load what the price of this endpoint needs, on a thread, the first time."""
        if self.track_cost and self._loading is None:
            self._loading = threading.Thread(target=self.price, args=(endpoint,), name="podium-prices", daemon=True)
            self._loading.start()

    def price(self, endpoint: Endpoint) -> Found | None:
        """The price that an endpoint was last charged by, for the record; None where none is known, or costs are not tracked.

        It does not look for a newer one: new prices may have come since the cost was worked out.
        """
        if not self.track_cost:
            return None
        return self.find_price(endpoint) if endpoint.price is None else endpoint.price[1]

    def find_price(self, endpoint: Endpoint) -> Found | None:
        """The price of what an endpoint sells; None where none is known. Limits of money need it in any case."""
        price = endpoint.price
        if price is None or price[0] is not self._pricing or time.monotonic() >= self._look_at:
            book = self.pricing
            with self._price_lock:  # the first look takes long; whoever comes meanwhile need not do it again
                price = endpoint.price = (book, find_target(book, endpoint.provider, endpoint.target.model))
        return price[1]

    def _must_price(self) -> bool:
        return self.track_cost and self._snapshot.data_dir is not None and self._snapshot.ledger.store == "sqlite"

    # --- limits ---------------------------------------------------------------------------------------------------------

    @property
    def limits(self) -> Limits:
        """The limits of users and teams; opened when first asked for."""
        if self._limits is None:
            with self._lock:
                if self._limits is None:
                    from podium.coordination.limits import Limits

                    self._limits = Limits(self._coordinator(), self._snapshot)
        return self._limits

    def _coordinator(self) -> Coordinator:
        from podium.coordination.coordinator import Coordinator
        from podium.coordination.memory import MemoryLeases

        folder, on_lost = self._snapshot.data_dir, self._snapshot.on_lost
        if folder is None:
            return Coordinator(MemoryLeases(), on_lost=on_lost)
        _make_private(folder)
        return Coordinator.open(Path(folder) / _LIMITS_FILE, on_lost=on_lost)

    def limited(self, user_id: str | None, team: str | None) -> bool:
        """Whether any limit of a user or a team may concern a request."""
        user = None if user_id is None else self._snapshot.users.get(user_id)
        if user is not None and user.allowance.limits_anything:
            return True
        group = None if team is None else self._snapshot.teams.get(team)
        return group is not None and group.allowance.limits_anything

    def swap(self, snapshot: Snapshot) -> None:
        """Keep to the limits of another snapshot from now on."""
        with self._lock:
            self._snapshot = snapshot
            self.prices_come_first = self._must_price()
            if self._limits is not None:
                self._limits.swap(snapshot)

    # --- the ledger -----------------------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger | None:
        """The ledger; opened when first asked for. None: the config wants none."""
        if not self._opened:
            with self._lock:
                if not self._opened:
                    self._ledger = self._open()
                    self._publish()
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
            _make_private(folder)
            try:
                return Ledger.open(
                    Path(folder),
                    fsync=settings.fsync,
                    on_full=settings.on_full,
                    payloads=settings.payloads,
                    retention=retention,
                    gathers=True,
                )
            except StoreError as error:
                if settings.on_full == "refuse":
                    raise
                self.problems.append(f"{error} Until then the ledger is in memory, and ends with the process.")
                _LOG.warning("%s", self.problems[-1])
        return Ledger.open(None, store="memory:", payloads=settings.payloads, retention=retention)

    # --- observers ------------------------------------------------------------------------------------------------------

    def observe(self, observer: Observer) -> None:
        """Let an observer have the records of all requests from the next on."""
        self._all_observers.append(observer)
        self.observers = Observers(self._all_observers)

    def _publish(self) -> None:
        """Let other processes see the metrics, where there is a folder to put them in."""
        if self._snapshot.data_dir is not None:
            self._publisher = Publisher(self.metrics, Path(self._snapshot.data_dir) / _METRICS_FOLDER)
            self._publisher.start()

    def hold_still(self) -> None:
        """Before a fork: wait until nobody opens or loads anything, for a child would wait for it forever."""
        if self._loading is not None and self._loading is not threading.current_thread():
            self._loading.join(_FORK_WAIT_S)
        self._held = [lock for lock in (self._lock, self._price_lock) if lock.acquire(timeout=_FORK_WAIT_S)]

    def go_on(self) -> None:
        """After a fork, in the parent."""
        for lock in self._held:
            lock.release()

    def begin_anew(self) -> None:
        """After a fork, in the child: nobody here holds a lock."""
        self._lock, self._price_lock = threading.Lock(), threading.Lock()

    def statistics(self) -> dict[str, Any]:
        """How ledger and limits fare; what has not been opened has nothing to say."""
        facts: dict[str, Any] = {"problems": list(self.problems)}
        if self._ledger is not None:
            facts["ledger"] = self._ledger.statistics().to_dict()
        if self._limits is not None:
            facts["limits"] = self._limits.statistics()
        return facts

    def close(self) -> None:
        """Give what is in the journal to the store, return leases, and end the threads. It blocks for a moment."""
        with self._lock:
            ledger, self._ledger, self._opened = self._ledger, None, False
            limits, self._limits = self._limits, None
            publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()
        if limits is not None:
            limits.coordinator.close()
        if ledger is not None:
            ledger.close()


def _make_private(folder: str) -> None:
    """Make the data folder for its owner alone: it says who asked what. One that is there is left as it is."""
    with suppress(OSError):  # whoever needs it finds out, and says so
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
