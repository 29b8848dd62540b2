"""What requests cost is told in many places, and all of them say the same: to the last pico-dollar, and to the last token.

A random mixture of requests is asked of simulated providers over HTTP. Then every place is held against what an observer was
told, attempt by attempt and request by request, and that against the results, the prices and the providers' own counts.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import random
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from engine.biller import Bill, Biller
from engine.mixture import RATES, STORY, Clock, Mixture, models_of
from engine.told import TOKENS, Figures, Told, cost_by, expected, figures_of, found
from making import Make
from podium import Models
from podium.cli.main import app
from podium.errors import BudgetExceeded, LimitError
from podium.ledger import Price, UsageRow, pico_usd
from podium.ledger.store import Priced
from podium.observe.otel import OpenTelemetry
from podium.observe.prometheus import prometheus_text
from podium.sim import Sim
from podium.types import Usage
from waiting import until

AZORES = "Atlantic/Azores"
HOUSES = ("house", "claude-house")
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", AZORES)
NAMES = ("user", "team", "provider", "model", "target", "tier", "experiment", "rollout", "arm", "tag")


class Tracing:
    """An OpenTelemetry SDK that keeps what it is told."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._tracers = TracerProvider()
        self._tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self._meters = MeterProvider(metric_readers=[self._reader])
        self.observer = OpenTelemetry(tracer_provider=self._tracers, meter_provider=self._meters)

    def calls(self) -> list[dict[str, Any]]:
        """The attributes of the spans of attempts."""
        return [dict(span.attributes or {}) for span in self._exporter.get_finished_spans() if span.parent is not None]

    def tokens(self, kind: str) -> int:
        """The sum of a kind of tokens in the metrics."""
        data = self._reader.get_metrics_data()
        points: list[Any] = [
            point
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "gen_ai.client.token.usage"
            for point in metric.data.data_points
        ]
        return sum(point.sum for point in points if point.attributes["gen_ai.token.type"] == kind)

    def close(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()


@pytest.fixture
async def biller() -> AsyncIterator[Biller]:
    async with Biller() as running:
        yield running


# --- each place ------------------------------------------------------------------------------------------------------------


def check_results(told: Told, mixture: Mixture) -> None:
    """What a caller is told of its attempts is what is on record, and the result's cost is their sum."""
    for request_id, attempts in mixture.ended.items():
        recorded = {each.attempt: each for each in told.attempts if each.request.request_id == request_id}
        for attempt in attempts:
            record = recorded[attempt.number]
            assert (attempt.usage, attempt.estimated, attempt.outcome) == (record.usage, record.estimated, record.outcome)
            assert pico_usd(attempt.cost_usd) == record.cost_pico
        result = mixture.results.get(request_id)
        if result is not None:
            assert len(attempts) == len(recorded)
            costs = [each.cost_usd for each in attempts]
            assert result.cost_usd == (None if None in costs else sum(cost for cost in costs if cost is not None))


def check_sides(told: Told, mixture: Mixture) -> None:
    """A side of a comparison says what all of its attempts read, wrote and cost."""
    assert mixture.sides
    for side in mixture.sides:
        recorded = [each for each in told.attempts if each.request.request_id == side.request_id]
        costs = [each.cost_pico for each in recorded]
        usages = [each.usage for each in recorded if each.usage is not None]
        assert pico_usd(side.cost_usd) == (None if None in costs else sum(cost or 0 for cost in costs)), side
        assert (side.input_tokens or 0) == sum(usage.total_input for usage in usages)
        assert (side.output_tokens or 0) == sum(usage.total_output for usage in usages)


def check_prices(told: Told) -> None:
    """Each cost is what the provider said, else its tokens times the rates of the config: worked out from the rates alone."""
    for each in told.attempts:
        if each.usage is None:
            assert each.cost_pico == 0
        elif each.usage.reported_cost_usd:
            assert each.cost_pico == pico_usd(each.usage.reported_cost_usd)
        elif each.provider == "local":
            assert each.cost_pico == 0
        elif each.provider in HOUSES:
            rates = RATES.get(each.model)
            assert each.cost_pico == (None if rates is None else pico_usd(cost_by(rates, each.usage)))


def check_provider(told: Told, biller: Biller, sim: Sim) -> None:
    """What was not estimated is just what the providers counted; each of their requests is an attempt."""
    answered = [each for each in told.attempts if each.usage is not None and not each.estimated]
    for each in answered:
        if each.provider not in (*HOUSES, "openai-us"):
            continue
        assert each.usage is not None
        number = int(each.request.request_id.rpartition("-")[2])
        said = next(other.bill.usage for other in biller.billed if other.bill.number == number and other.whole)
        assert said is not None
        if each.provider == "claude-house":
            read = said["cache_read_input_tokens"] or 0
            assert each.usage.total_input == said["input_tokens"] + read + said["cache_creation_input_tokens"]
            assert each.usage.cache_write_1h == said["cache_creation"]["ephemeral_1h_input_tokens"]
            assert each.usage.total_output == said["output_tokens"]
            continue
        assert each.usage.total_input == said["prompt_tokens"]
        thought = (said.get("completion_tokens_details") or {}).get("reasoning_tokens")
        beside = thought if isinstance(thought, int) and said.get("total_tokens") == sum_of(said) + thought else 0
        assert each.usage.total_output == said["completion_tokens"] + beside
    ours = Counter((each.provider, each.upstream_model) for each in told.attempts if each.outcome != "rejected")
    theirs = Counter((each.provider, each.model) for each in sim.requests)
    for target, count in theirs.items():
        assert count <= ours[target], target
    whole = Counter(
        (each.provider, each.model, each.input_tokens, each.tokens) for each in sim.requests if each.outcome == "finished"
    )
    for each in answered:
        if each.provider not in (*HOUSES, "openai-us"):
            assert each.usage is not None
            whole[each.provider, str(each.upstream_model), each.usage.total_input, each.usage.total_output] -= 1
    assert not -whole


def sum_of(said: dict[str, Any]) -> int:
    return int(said["prompt_tokens"] + said["completion_tokens"])


def check_usage(told: Told, ask: Callable[..., list[UsageRow]], *, any_names: bool) -> None:
    """Every grouping, alone and with another, in every zone, with and without conditions."""
    groupings: list[tuple[str, ...]] = [(), ("day",), ("month",), *((name,) for name in NAMES)]
    pairs = [*combinations(NAMES, 2), *(("day", name) for name in NAMES), ("user", "day", "month", "target")]
    for zone in ZONES:
        for by in [*groupings, *(pairs if zone == AZORES else ())]:
            if any_names or "tag" not in by or set(by) <= {"tag", "day", "month"}:
                assert found(ask(by, tz=zone)) == expected(told, by, zone), (by, zone)
    for name in NAMES:
        values = sorted({group[0] or "" for group in expected(told, (name,))})
        for value in (*values, "nobody"):
            by = () if name == "tag" and not any_names else ("month", "user")
            wanted = expected(told, by, "Europe/Berlin", {name: (value or None,)})
            assert found(ask(by, where={name: value or None}, tz="Europe/Berlin")) == wanted, (name, value)
        if any_names or name != "tag":
            several = tuple(value or None for value in values[:2])
            assert found(ask((), where={name: several})) == expected(told, (), where={name: several}), (name, several)


def check_views(told: Told, folder: Path) -> None:
    """The views of the store have each attempt and each request once."""
    with closing(sqlite3.connect(folder / "ledger.sqlite3")) as store:
        rows = store.execute(
            f"SELECT request_id, attempt, outcome, estimated, cost_pico, {', '.join(TOKENS)} FROM attempts"
        ).fetchall()
        ends = store.execute("SELECT request_id, outcome, provider, model, attempts FROM entries").fetchall()
    assert sorted(rows) == sorted(
        (each.request.request_id, each.attempt, each.outcome, int(each.estimated), each.cost_pico, *figures_of(each)[5:-1])
        for each in told.attempts
    )
    assert sorted(ends) == sorted(
        (each.request.request_id, each.outcome, each.provider or "", each.model or "", each.attempts) for each in told.requests
    )


def check_metrics(told: Told, models: Models) -> None:
    """The metrics count the same; requests without the shadows', which no caller asked."""
    callers = Told()
    callers.attempts, callers.requests = told.attempts, [each for each in told.requests if not each.request.is_shadow]
    report = models.get_metrics().overall
    every = {"provider": report.providers, "model": report.models, "target": report.targets, "tier": report.tiers}
    for name, rows in {**every, "experiment": report.experiments}.items():
        wanted = {group[0]: figures for group, figures in expected(callers, (name,)).items() if group[0] is not None}
        assert {key: of_metrics(row) for key, row in rows.items()} == wanted, name
    whole = expected(callers, ()).get((), ())
    assert of_metrics(report.total) == whole
    samples = [
        sample for family in text_string_to_metric_families(prometheus_text(models._books.metrics)) for sample in family.samples
    ]
    kinds = Counter(dict.fromkeys(TOKENS, 0))
    for sample in samples:
        if sample.name == "podium_tokens_total":
            kinds[sample.labels["kind"]] += int(sample.value)
    assert tuple(kinds[name] for name in TOKENS) == whole[5:-1]
    text = prometheus_text(models._books.metrics)
    assert pico_usd(sum(map(Decimal, re.findall(r"^podium_cost_usd_total\{.*\} (\S+)$", text, re.M)), Decimal(0))) == whole[-1]
    assert sum(int(sample.value) for sample in samples if sample.name == "podium_requests_total") == whole[0]
    assert sum(int(sample.value) for sample in samples if sample.name == "podium_attempts_total") == whole[2]
    assert sum(int(sample.value) for sample in samples if sample.name == "podium_unpriced_attempts_total") == whole[4]


def of_metrics(row: Any) -> Figures:
    tokens = [getattr(row.tokens, name) for name in TOKENS]
    assert row.cost_usd == Decimal(row.cost_pico) / 10**12
    return (row.requests, row.failures, row.attempts, row.outcomes.get("failed", 0), row.unpriced, *tokens, row.cost_pico)


def check_tracing(told: Told, tracing: Tracing) -> None:
    """Each attempt has a span with its cost and tokens, and the conventions' metric what its provider told."""
    calls = tracing.calls()
    assert Counter(call.get("podium.cost_usd") for call in calls) == Counter(
        None if each.cost_pico is None else each.cost_pico / 10**12 for each in told.attempts
    )
    measured = [each.usage for each in told.attempts if each.usage is not None and not each.estimated]
    estimates = [each.usage for each in told.attempts if each.usage is not None and each.estimated]
    for name, usages in (("gen_ai.usage.", measured), ("podium.usage.estimated_", estimates)):
        for kind in ("input", "output"):
            counted = sum(call.get(f"{name}{kind}_tokens", 0) for call in calls)
            assert counted == sum(getattr(usage, f"total_{kind}") for usage in usages)
    assert tracing.tokens("input") == sum(usage.total_input for usage in measured)
    assert tracing.tokens("output") == sum(usage.total_output for usage in measured)


def check_command(told: Told, folder: Path) -> None:
    """`podium usage` says the same as CSV and JSON, and its table has the totals."""

    def run(*arguments: str) -> str:
        ran = CliRunner().invoke(app, ["usage", *arguments, "--data", str(folder)], env={"COLUMNS": "300"})
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    whole = expected(told, ()).get((), ())
    columns = ("requests", "errors", "attempts", "failed", "unpriced", *TOKENS)
    for by in ("user,model", "day,provider", "tag", "rollout,arm"):
        wanted = expected(told, tuple(by.split(",")), "Europe/Berlin")
        document = json.loads(run("--by", by, "--tz", "Europe/Berlin", "--json"))
        plain = {tuple(row[name] for name in by.split(",")): row for row in document["rows"]}
        assert {key: (*(row[name] for name in columns), of_text(row["cost_usd"])) for key, row in plain.items()} == wanted
        assert (*(document["total"][name] for name in columns), of_text(document["total"]["cost_usd"])) == whole
    rows = list(csv.DictReader(io.StringIO(run("--by", "user,model", "--csv"))))
    assert {(row["user"] or None, row["model"] or None): int(row["attempts"]) for row in rows} == {
        key: figures[2] for key, figures in expected(told, ("user", "model")).items()
    }
    assert sum(of_text(row["cost_usd"]) for row in rows) == whole[-1]
    line = next(line.split() for line in run("--by", "user,model").splitlines() if line.startswith("total"))
    assert [int(cell.replace(",", "")) for cell in line[1:4] if cell != "-"] == [count for count in whole[:3] if count]


def of_text(usd: str) -> int:
    pico = pico_usd(Decimal(usd))
    assert pico is not None
    return pico


def check_rollout(told: Told, models: Models) -> None:
    """The rollout's own counts: its arms' calls, and what their shadows cost."""
    arms = Counter(each.request.arm for each in told.requests)
    counted = models.rollouts.usage("move")
    assert (counted.legacy, counted.candidate) == (arms["legacy"], arms["candidate"])
    shadow = models.rollouts.shadow("move")
    costs = [each.cost_pico for each in told.attempts if each.request.is_shadow]
    assert shadow.sent == arms["legacy_shadow"] + arms["candidate_shadow"] > 0
    assert (pico_usd(shadow.spent_usd), shadow.unpriced) == (sum(cost or 0 for cost in costs), costs.count(None))


async def check_limit(told: Told, models: Models) -> None:
    """A limit has spent what its user's attempts cost; where nobody knows that, what was reserved for them."""
    bill = Bill(number=0, usage={"prompt_tokens": 10**6, "completion_tokens": 10**6, "total_tokens": 2 * 10**6})
    with suppress(LimitError):
        await models.generate_text("house/usual", user_id="jane", prompt=bill.prompt(), request_id="request-0")
    janes = [each for each in told.attempts if each.request.user_id == "jane"]
    spent = sum((each.reserved_pico or 0) if each.cost_pico is None else each.cost_pico for each in janes)
    with pytest.raises(BudgetExceeded) as caught:
        await models.generate_text("house/fee", user_id="jane", prompt=STORY, max_tokens=10)
    assert caught.value.spent is not None
    assert pico_usd(Decimal(caught.value.spent)) == spent > 0
    assert caught.value.reserved == 0


def times_cost(times: int, rates: dict[str, Any], used: Usage) -> int | None:
    cost = cost_by(rates, used)
    return None if cost is None else pico_usd(times * cost)


def check_repricing(told: Told, models: Models, folder: Path) -> None:
    """Priced again by the same prices nothing changes; by others every place has what those say."""
    ledger = models._books.ledger
    assert ledger is not None

    def today(old: Priced, times: int = 1) -> Price | None:
        rates = RATES.get(old.model) if old.provider in HOUSES else None
        if rates is None or old.usage.reported_cost_usd:
            return None
        return Price(cost_pico=times_cost(times, rates, old.usage), price_version="new", price_source="test")

    assert [each for each in ledger.reprice(today) if each.changed] == []
    ledger.reprice(lambda old: today(old, 3), apply=True)
    changed = Told()
    changed.requests = told.requests
    for each in told.attempts:
        rates = RATES.get(each.model) if each.provider in HOUSES else None
        if rates is not None and each.usage is not None and not each.usage.reported_cost_usd:
            each = each.replace(cost_pico=times_cost(3, rates, each.usage))
        changed.attempts.append(each)
    check_usage(changed, models.usage, any_names=True)
    check_views(changed, folder)


# --- together ----------------------------------------------------------------------------------------------------------------


async def settled(models: Models, told: Told) -> None:
    """Wait until nothing runs, and everything is on record."""
    await models._aside.close()
    await until(lambda: not models.statistics()["calls"])
    await until(
        lambda: {each.request.request_id for each in told.attempts} <= {each.request.request_id for each in told.requests}
    )


@pytest.mark.parametrize("store", ["sqlite", "memory"])
@pytest.mark.parametrize("seed", range(2))
async def test_every_place_tells_the_same_of_any_mixture(
    make: Make, sim: Sim, biller: Biller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, seed: int
) -> None:
    drawn = random.Random(f"{store} {seed}")
    clock = Clock(drawn)
    monkeypatch.setattr("podium.engine.account.time", SimpleNamespace(time=clock.time))
    monkeypatch.setattr("podium.routing.health.FIRST_WAIT_S", 0.01)
    sim.set("gpt-down", status=503)
    sim.set("gpt-wrong", wrong_json=True)
    sim.set("gpt-hangs", hang=True)
    sim.set("claude-stalls", stall_after=5)
    for slow in ("gpt-slow", "claude-slow", "gpt-4.1"):
        sim.set(slow, latency_s=0.02, tokens_per_s=300)
    models = models_of(make, biller, **({"data_dir": str(tmp_path)} if store == "sqlite" else {"ledger": "memory"}))
    told, tracing = Told(), Tracing()
    models.observe(told)
    models.observe(tracing.observer)
    mixture = Mixture(models, drawn, clock)
    await mixture.ask(80)
    await settled(models, told)
    await check_limit(told, models)
    assert len(told.requests) >= 82
    check_results(told, mixture)
    check_sides(told, mixture)
    check_prices(told)
    check_provider(told, biller, sim)
    check_metrics(told, models)
    check_tracing(told, tracing)
    await asyncio.to_thread(check_rollout, told, models)
    await asyncio.to_thread(check_usage, told, models.usage, any_names=store == "sqlite")
    if store == "sqlite":
        check_views(told, tmp_path)
        check_command(told, tmp_path)
        await asyncio.to_thread(check_repricing, told, models, tmp_path)
    await models.close()
    tracing.close()
