"""The metrics in Prometheus' words: text to be scraped, or a collector for an application's own registry.

Theory. A scrape reads what was counted anyway, so nothing is recorded a second time. The text is written here, without the
client library; its format is https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4). An application that already
serves a registry of `prometheus-client` registers a `Collector` instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from podium.observe.families import families
from podium.observe.metrics import Metrics
from podium.observe.state import State

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def prometheus_text(source: Metrics | State) -> str:
    """Write metrics as Prometheus' text: those of a process, or a state (several are added up by `state.combine`)."""
    lines: list[str] = []
    for family in families(source):
        lines.append(f"# HELP {family.name} {family.help}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for suffix, labels, value in family.samples:
            inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            lines.append(f"{family.name}{suffix}{{{inner}}} {value}" if inner else f"{family.name}{suffix} {value}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


class Collector:
    """Makes Podium's metrics part of an application's registry: `REGISTRY.register(Collector(metrics))`.

    Needs the package `prometheus-client` (`pip install 'podium[prometheus]'`).
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Give all metrics as the client library's own."""
        from prometheus_client.core import Metric

        for family in families(self._metrics):
            name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
            metric = Metric(name, family.help, family.kind)
            for suffix, labels, value in family.samples:
                metric.add_sample(family.name + suffix, labels, float(value))
            yield metric
