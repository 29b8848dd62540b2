"""Ramps and guards of a config become a course; what is left out has the defaults of the documents."""

from __future__ import annotations

from typing import Any

import pytest

from podium.config import compile_config
from podium.routing.climb import Course
from podium.routing.guard import Guard, Ramp


def course(**rollout: Any) -> Course | None:
    chat = {"match": ["gpt-4"], "candidate": "openai/gpt-4o", **rollout}
    snapshot = compile_config({"providers": {"openai": {"api_key": "k" * 20}}, "rollouts": {"chat": chat}}, env={})
    return snapshot.courses.get("chat")


def test_a_ramp_and_a_guard_as_the_documents_write_them() -> None:
    found = course(
        ramp={"steps": [1, 5, "12.5%"], "dwell": "30m", "longest": "24h", "holdout": "1%", "samples": 50},
        guard={
            "error_rate": {"margin": "1%"},
            "latency": {"margin": "2%", "over": "legacy p90"},
            "cost": {"margin": "10%"},
            "quality": {"judge": "openai/gpt-4o", "margin": "2%", "sample": "20%"},
            "alpha": "0.5%",
            "beta": 10,
        },
    )
    margins = {"error_rate": 0.01, "latency": 0.02, "cost": 0.1, "quality": 0.02}
    assert found == Course(
        ramp=Ramp(steps=(1, 5, 12.5), dwell_s=1800, longest_s=86400, holdout=1, samples=50),
        guard=Guard(margins=margins, alpha=0.005, beta=0.1, latency_share=0.9),  # type: ignore[arg-type]
        judge="openai/gpt-4o",
        sample=0.2,
    )


@pytest.mark.parametrize("sections", [{"ramp": {}}, {"guard": {}}, {"ramp": {}, "guard": {}}])
def test_either_section_is_enough_and_guards_errors_by_default(sections: dict[str, Any]) -> None:
    found = course(**sections)
    assert found is not None
    assert (found.ramp, found.guard) == (Ramp(), Guard())


def test_a_rollout_without_either_has_no_course() -> None:
    assert course() is None


def test_a_duration_is_a_limit_on_latency_that_needs_no_legacy() -> None:
    found = course(guard={"latency": {"margin": "5%", "over": "2s"}})
    assert found is not None
    assert (found.guard.latency_limit_s, found.guard.measures) == (2.0, ())
    assert found.guard.margins == {"latency": 0.05}


def test_camel_case_is_taken_too() -> None:
    found = course(guard={"errorRate": {"margin": "3%"}})
    assert found is not None
    assert found.guard.margins == {"error_rate": 0.03}
