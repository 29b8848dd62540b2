"""`podium replay`: what was really asked is asked of a candidate, and compared with what is on record."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.conftest import Run
from cli.test_batch import read
from podium import load_models
from podium.sim import Sim

CANDIDATE = "groq/llama-3.1-8b-instant"
Serve = Callable[..., list[Any]]


@pytest.fixture
def serve(here: Path, sim: Sim) -> Iterator[Serve]:
    """Let an application with a rollout at 0 % answer prompts, and give its results."""

    def served(*prompts: Any, payloads: str = "full", user_id: str = "jane") -> list[Any]:
        written = {
            "providers": sim.providers("openai", "anthropic", "groq"),
            "rollouts": {"chat": {"match": ["gpt-4"], "legacy": "openai/gpt-4o", "candidate": CANDIDATE, "percent": 0}},
            "ledger": {"payloads": payloads},
            "data_dir": ".podium",
        }
        (here / "podium.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
        return asyncio.run(_answer(here / "podium.yaml", prompts, user_id))

    yield served
    sim.unset(CANDIDATE)


async def _answer(path: Path, prompts: tuple[Any, ...], user_id: str) -> list[Any]:
    results = []
    async with load_models(path) as models:
        for each in prompts:
            ask = each if isinstance(each, dict) else {"prompt": each}
            results.append(await models.generate_text("gpt-4", user_id=user_id, **ask))
    return results


PROMPTS = ("What is the capital of France?", "What is 15% of 2480?", "Is 997 a prime number?")


def test_the_candidate_is_asked_what_was_asked_and_compared_with_what_was_answered(
    podium: Run, here: Path, sim: Sim, serve: Serve
) -> None:
    results = serve(*PROMPTS)
    sim.reset()
    ran = podium("replay", "--rollout", "chat", "-o", "o.jsonl", "--report", "r.html", "--json")
    found, lines = json.loads(ran.out), read(here / "o.jsonl")
    assert ran.code == 0, ran.err
    assert [request.provider for request in sim.requests] == ["groq"] * 3
    assert sorted(str(request.body["messages"][-1]["content"]) for request in sim.requests) == sorted(PROMPTS)
    assert [line["id"] for line in lines] == [result.request_id for result in results]
    for line, result in zip(lines, results, strict=True):
        old = line["old"]
        assert (old["recorded"], old["target"], old["text"]) == (True, "openai/gpt-4o", result.text)
        assert Decimal(old["cost_usd"]) == result.cost_usd
        assert old["duration_s"] == pytest.approx(result.duration_s, abs=1e-5)
        assert (old["input_tokens"], old["output_tokens"]) == (result.usage.total_input, result.usage.total_output)
        assert line["new"]["target"] == CANDIDATE
    assert Decimal(found["spent_usd"]) == sum(Decimal(line["new"]["cost_usd"]) for line in lines)  # the candidate's alone
    assert (found["summary"]["same"], found["old"], found["new"]) == (3, "rollout chat, legacy", CANDIDATE)
    assert "their times were not taken at the same time" in found["note"]
    assert PROMPTS[0] not in (here / "r.html").read_text()  # the same answer is not among those that differ
    assert "their times were not taken at the same time" in (here / "r.html").read_text()


def test_a_conversation_with_its_settings_is_asked_again_as_it_was(podium: Run, here: Path, sim: Sim, serve: Serve) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    messages = [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "Paris"},
        {"role": "user", "content": "And of Italy?"},
    ]
    ask = {"messages": messages, "system": "Be brief.", "max_tokens": 50, "temperature": 0.2, "stop": ["END"], "tools": [tool]}
    serve({**ask, "metadata": {"team": "search", "tags": ["nightly"]}})
    recorded = sim.requests[-1].body
    sim.reset()
    assert podium("replay", "--rollout", "chat").code == 0
    again = sim.requests[-1].body
    for name in ("messages", "temperature", "stop", "tools"):
        assert again[name] == recorded[name], name
    assert 50 in (again.get("max_tokens"), again.get("max_completion_tokens"))


def test_a_replay_is_on_record_of_nobody_and_is_not_replayed(podium: Run, here: Path, sim: Sim, serve: Serve) -> None:
    serve(*PROMPTS)
    podium("replay", "--rollout", "chat")
    rows = json.loads(podium("usage", "--by", "user,tag", "--json").out)["rows"]
    assert {(row["user"], row["tag"]): row["requests"] for row in rows} == {("jane", None): 3, (None, "replay"): 3}
    again = podium("replay", "--spec", CANDIDATE, "--candidate", "openai/gpt-4o")
    assert again.code == 2
    assert f"No request for {CANDIDATE} is on record" in again.err
    assert "`podium usage --by tier,model`" in again.err


def test_a_second_run_goes_on_and_keeps_what_has_left_its_window(podium: Run, here: Path, sim: Sim, serve: Serve) -> None:
    serve(*PROMPTS)
    podium("replay", "--rollout", "chat", "-o", "o.jsonl", "--limit", "2")
    assert len(read(here / "o.jsonl")) == 2
    serve("What is the capital of Peru?")
    sim.reset()
    ran = podium("replay", "--rollout", "chat", "-o", "o.jsonl", "--limit", "1", "--json")
    assert ran.code == 0, ran.err
    assert sim.stats.requests == 1
    assert json.loads(ran.out)["summary"]["n"] == 3
    assert [line["prompt"] for line in read(here / "o.jsonl")] == [*PROMPTS[1:], "What is the capital of Peru?"]
    assert "4 requests of rollout chat that took its legacy arm are on record; these are the newest 1" in ran.err
    other = podium("replay", "--rollout", "chat", "--candidate", "openai/gpt-4.1", "-o", "o.jsonl")
    assert other.code == 2
    assert "--fresh" in other.err


def test_a_request_that_had_failed_is_a_failure_of_the_old_side(podium: Run, here: Path, sim: Sim, serve: Serve) -> None:
    sim.set("openai/gpt-4o", status=400)
    try:
        with pytest.raises(Exception, match="400"):
            serve("What is the capital of France?")
    finally:
        sim.unset("openai/gpt-4o")
    serve("What is the capital of Italy?")
    found = json.loads(podium("replay", "--rollout", "chat", "-o", "o.jsonl", "--json").out)["summary"]
    assert (found["old"]["failed"], found["old"]["answered"], found["new"]["answered"]) == (1, 1, 2)
    assert read(here / "o.jsonl")[0]["old"]["error_code"] == "provider_invalid_request"


def test_agreement_is_counted_by_what_is_wished(podium: Run, here: Path, sim: Sim, serve: Serve) -> None:
    serve(PROMPTS[0])
    serve(PROMPTS[1], user_id="john")
    for by, wanted in (("user", ["jane", "john"]), ("spec", ["gpt-4"]), ("target", ["openai/gpt-4o"])):
        summary = json.loads(podium("replay", "--rollout", "chat", "--by", by, "--json").out)["summary"]
        assert [each["name"] for each in summary["categories"]] == wanted


@pytest.mark.parametrize(
    ("payloads", "words"), [("none", "their texts were not kept"), ("hashed", "only the hashes of their texts were kept")]
)
def test_without_kept_texts_the_line_of_the_config_is_told_that_keeps_them(
    podium: Run, here: Path, sim: Sim, serve: Serve, payloads: str, words: str
) -> None:
    serve(*PROMPTS, payloads=payloads)
    sim.reset()
    ran = podium("replay", "--rollout", "chat")
    assert (ran.code, sim.stats.requests) == (2, 0)
    assert "3 requests of rollout chat that took its legacy arm are on record, and none can be asked again" in ran.err
    assert f"(3: {words}" in ran.err
    assert "Set `ledger: {payloads: full}` in podium.yaml" in ran.err


def test_a_ledger_that_keeps_no_requests_is_told(podium: Run, here: Path, sim: Sim, serve: Serve) -> None:
    serve(PROMPTS[0])
    config = yaml.safe_load((here / "podium.yaml").read_text())
    for ledger, words in (({"store": "memory"}, "keeps sums alone"), ("none", "keeps no ledger")):
        (here / "podium.yaml").write_text(yaml.safe_dump({**config, "ledger": ledger}))
        ran = podium("replay", "--rollout", "chat")
        assert ran.code == 2
        assert words in ran.err
        assert "payloads: full" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rollout", "caht"), "chat"),
        ((), "--rollout NAME, or --spec SPEC"),
        (("--spec", "gpt-4"), "--candidate tier:high"),
        (("--rollout", "chat", "--candidate", "opnai/gpt-4o"), "openai"),
        (("--rollout", "chat", "--since", "yesterday"), "since"),
        (("--rollout", "chat", "--until", "2020-01-01", "--since", "2019-01-01"), "--since"),
        (("--rollout", "chat", "--by", "colour"), "spec, target, user or team"),
        (("--rollout", "chat", "--judge", "fair"), "auto, exact and json"),
        (("--rollout", "chat", "--report", "no/such/r.html"), "no such folder"),
    ],
)
def test_wrong_options_are_told_before_anything_is_asked(
    podium: Run, here: Path, sim: Sim, serve: Serve, arguments: tuple[str, ...], words: str
) -> None:
    serve(PROMPTS[0])
    sim.reset()
    ran = podium("replay", *arguments)
    assert (ran.code, sim.stats.requests) == (2, 0)
    assert words in ran.err


def test_the_bound_is_of_the_candidate_alone(podium: Run, here: Path, sim: Sim, serve: Serve) -> None:
    serve(*PROMPTS)
    sim.reset()
    ran = podium("replay", "--rollout", "chat", "--max-cost", "0.000001")
    assert (ran.code, sim.stats.requests) == (1, 0)
    assert podium("replay", "--rollout", "chat", "--max-cost", "0.1").code == 0
