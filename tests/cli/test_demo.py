import json
import time
from collections import Counter
from pathlib import Path

import pytest

from cli.conftest import Run
from podium import config
from podium.cli import stage
from podium.cli.play import Show, perform
from podium.errors import ConfigError
from podium.sim import Sim


def test_the_questions_are_thirty_different_ones_six_a_route() -> None:
    questions = stage.read_questions()
    assert [question.id for question in questions] == list(range(1, 31))
    assert len({question.prompt for question in questions}) == 30
    assert Counter(question.route for question in questions) == {route.name: 6 for route in stage.ROUTES}
    assert sum(question.expect is not None for question in questions) >= 20


def test_the_demo_answers_every_question_by_every_route_within_a_minute(process: Run) -> None:
    began = time.monotonic()
    ran = process("demo", "--json")
    assert time.monotonic() - began < 60
    assert (ran.code, ran.err) == (0, "")
    told = json.loads(ran.out)
    assert (told["ok"], told["answered"], told["failed"]) == (True, 30, 0)
    assert told["right"] == told["checked"]
    asked = {
        name: [one for one in told["questions"] if one["route"] == name] for name in ("race", "fallback", "consensus", "auto")
    }
    for one in asked["race"]:
        assert Counter(attempt["outcome"] for attempt in one["attempts"]) == {"won": 1, "lost": 1}
        assert one["cancelled"] == 1
    for one in asked["fallback"]:
        assert [attempt["outcome"] for attempt in one["attempts"]] == ["failed", "won"]
        assert one["attempts"][0]["target"]["provider"] == "openrouter"
    assert any(one["dissent"] for one in asked["consensus"])
    assert all(len(one["attempts"]) == 3 for one in asked["consensus"])
    assert {one["rule"] for one in asked["auto"]} == {"auto_tier"}
    assert {one["target"] for one in told["questions"] if one["route"] == "experiment"} == {"local/llama-3.3"}
    assert all(one["tokens_in"] and one["tokens_out"] and one["duration_s"] for one in told["questions"])
    assert [(row["requests"], row["failed"]) for row in told["routes"]] == [(6, 0)] * 5


def test_the_demo_fails_where_a_question_stays_unanswered(podium: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "make_sim", lambda: Sim(models={"openrouter/*": {"status": 401}, "local/*": {"status": 401}}))
    ran = podium("demo", "--no-pause")
    assert ran.code == 1
    assert ran.out.count("not answered") == 6
    assert "24 of 30 answered" in ran.out
    for words in ("Ulaanbaatar", "tier:fast", "cancelled", "podium init", "2 of 3 agree"):
        assert words in ran.out


@pytest.mark.usefixtures("here")
def test_a_real_demo_without_a_key_says_which_would_do(podium: Run) -> None:
    ran = podium("demo", "--real")
    assert (ran.code, ran.out) == (2, "")
    assert "OPENAI_API_KEY" in ran.err
    assert json.loads(podium("demo", "--real", "--json").out)["error"]["code"] == "invalid_config"


@pytest.mark.parametrize("names", [["openai"], ["deepseek"], ["groq", "anthropic"], list(stage.REAL_MODELS)])
def test_the_config_of_a_real_demo_is_good_whatever_keys_there_are(
    here: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    environment = {f"{name.upper()}_API_KEY": f"key-of-{name}" for name in names}
    for variable, key in environment.items():
        monkeypatch.setenv(variable, key)
    path, routes = stage.write_real_config(here, environment)
    assert [problem for problem in config.check_files([path]) if problem.severity == "error"] == []
    from podium import load_models

    models = load_models(path)
    for route in routes:
        assert models.explain(route.spec).targets
    assert models.explain(next(route.spec for route in routes if route.name == "auto")).rule == "auto_tier"
    assert "key-of-" not in path.read_text()


def test_a_real_demo_without_a_key_raises_before_anything_is_asked(here: Path) -> None:
    with pytest.raises(ConfigError):
        perform(Show(json=True, pause_s=0.0), real=True)
