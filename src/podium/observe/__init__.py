"""Observation: one frozen record an attempt and one a request, passed on to metrics, logs, Prometheus and OpenTelemetry.

Theory. The engine says what happened once, in a record without payloads; who wants to know is none of its business. So it makes
four calls, and a request costs the same whether two observe it or none:

    metrics = Metrics(track_performance=..., track_cost=..., throttled=..., breakers=..., failures=...)   # once
    observers = Observers([metrics, LogObserver(), OpenTelemetry()])                        # once: those that are enabled

    watch = observers.begin(RequestFacts(...))       # when a request begins, in the caller's task and context
    watch.observe(AttemptRecord(request=facts, ...)) # when an attempt is settled, priced, whatever its outcome
    watch.observe(RequestRecord(request=facts, ...)) # when the request is over

- `RequestFacts` is made once a request; its `timed` is `track_performance and user.performance_tracking is not False`, so that
  OpenTelemetry and the log keep to it as the metrics do. An attempt's time to first content counts from its launch, a
  request's from the call: `winner.started_s + winner.first_content_s`.
- `cause_of(...)` says why an attempt was launched, `server_of(base_url)` where it went.
- `throttled` is a function that gives `{"provider/model": seconds left}` of the targets to be left alone, `breakers` one that
  gives each rollout's state of its breaker (where that changes without a record, `metrics.touch()` says so), `failures` is
  `observers.failures` (`Metrics(failures=lambda: observers.failures())`, as each needs the other).
- `Models.get_metrics()` returns `metrics.snapshot()`, a `Report`; `to_dict()` makes it JSON. It takes milliseconds: it is for
  people and dashboards, not for each request.
- Where other processes are to see the metrics: `publisher = Publisher(metrics, data_folder / "metrics")` and
  `publisher.start()`; `publisher.close()` in `Models.close()` (it blocks for one write). `podium metrics` reads that folder;
  `make_report(read_folder(folder).states)` does in Python.
- Prometheus: `prometheus_text(metrics)` is one process's, `prometheus_text(combine(read_folder(folder).states, time.time()))`
  that of all; `Collector(metrics)` is for a registry of the application's.

Rules. Nothing here knows where the data folder is, or which observers are wanted: it is told. Optional packages
(`opentelemetry-api`, `prometheus-client`) are imported only by what needs them.
"""
