"""User files, and how a config finds them."""

from decimal import Decimal
from pathlib import Path

import pytest

from podium.config import check_files, compile_config, load_config, load_user, with_user
from podium.errors import ConfigError

FULL = """\
user_id: jane
name: Jane
experiments:
  careful:
    strategy: consensus
    providers: [openai/gpt-4o, {provider: groq, model: llama-3.1-8b}]
    timeout: 20s
    maxCost: 0.25
    quorum: 2
  plain: {models: [local/x]}
defaults: {experiment: careful, maxConcurrent: 4, timeout: 1m, costLimit: $5}
performanceTracking: true
"""
PROVIDERS = "providers: {openai: {}, groq: {}, local: {}}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "a.yaml").write_text(FULL)
    (tmp_path / "users" / "b.yaml").write_text("experiments: {e: {providers: [groq/y]}}\n")
    return tmp_path


def test_a_user_file_is_read_whole(folder: Path) -> None:
    user = load_user(None, "users/a.yaml")
    assert (user.id, user.name, user.default_experiment, user.source) == ("jane", "Jane", "careful", "users/a.yaml")
    assert (user.allowance.max_concurrent, user.timeout_s, user.allowance.cost_day_usd) == (4, 60.0, Decimal(5))
    assert user.performance_tracking is True
    careful = user.experiments["careful"]
    assert (careful.timeout_s, careful.max_cost_usd, careful.strategy.quorum) == (20.0, Decimal("0.25"), 2)
    assert [str(target) for target in careful.targets] == ["openai/gpt-4o", "groq/llama-3.1-8b"]
    assert [str(target) for target in user.experiments["plain"].targets] == ["local/x"]


def test_a_glob_takes_the_stem_unless_the_file_says_its_own_id(folder: Path) -> None:
    (folder / "podium.yaml").write_text(PROVIDERS + "users: users/*.yaml\n")
    users = compile_config(load_config("podium.yaml"), env={}).users
    assert {name: user.source for name, user in users.items()} == {"jane": "users/a.yaml", "b": "users/b.yaml"}


def test_files_are_looked_for_beside_the_config_wherever_one_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "podium.yaml").write_text(PROVIDERS + "users: {jane: users/a.yaml}\n")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert list(compile_config(load_config(folder / "podium.yaml"), env={}).users) == ["jane"]
    data = {"providers": {"openai": {}, "groq": {}, "local": {}}, "users": {"jane": "users/a.yaml"}}
    assert list(compile_config(data, env={}, base_dir=folder).users) == ["jane"]
    assert list(compile_config(data | {"users": f"{folder}/users/a*.yaml"}, env={}).users) == ["jane"]
    assert list(compile_config(data | {"users": {"jane": folder / "users" / "a.yaml"}}, env={}).users) == ["jane"]


def test_a_user_may_be_written_out_in_the_config() -> None:
    data = {"providers": {"groq": {}}, "users": {"bob": {"experiments": {"e": {"models": ["groq/x"]}}, "name": "Bob"}}}
    user = compile_config(data, env={}).users["bob"]
    assert (user.id, user.name, user.source, list(user.experiments)) == ("bob", "Bob", None, ["e"])


def test_a_file_that_says_another_id_than_it_is_loaded_as_is_refused(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"users/a\.yaml:1: user_id: the file says that it is `jane`'s, and it is loaded as `joe`'s"
    ):
        load_user("joe", "users/a.yaml")


def test_a_user_files_faults_are_told_with_their_lines(folder: Path) -> None:
    (folder / "users" / "c.yaml").write_text(
        "userId: a/b\nexperiments:\n  x:y: {providers: []}\n  z: {strategy: race, providers: [groq], maxcost: 1}\ndefaults:\n"
        "  experiment: w\n  maxConcurrent: -1\n"
    )
    with pytest.raises(ConfigError) as raised:
        load_user(None, "users/c.yaml")
    assert [(problem.line, problem.path) for problem in raised.value.problems] == [
        (1, "userId"),
        (3, 'experiments["x:y"]'),
        (3, 'experiments["x:y"].providers'),
        (4, "experiments.z.maxcost"),
        (4, "experiments.z.providers[0]"),
        (6, "defaults.experiment"),
        (7, "defaults.maxConcurrent"),
    ]


def test_a_user_whose_provider_does_not_exist_is_not_added(folder: Path) -> None:
    snapshot = compile_config({"providers": {"groqq": {"kind": "groq"}, "openai": {}}}, env={})
    with pytest.raises(ConfigError) as raised:
        with_user(snapshot, load_user("b", "users/b.yaml"))
    assert str(raised.value).splitlines()[1] == (
        "  users/b.yaml: experiments.e.providers[0]: there is no provider `groq`. Did you mean `groqq`?"
    )


def test_loading_a_user_again_replaces_it(folder: Path) -> None:
    snapshot = compile_config({"providers": {"groq": {}}}, env={})
    once = with_user(snapshot, load_user("b", "users/b.yaml"))
    (folder / "users" / "b.yaml").write_text("experiments: {f: {providers: [groq/z]}}\n")
    twice = with_user(once, load_user("b", "users/b.yaml"))
    assert list(twice.users["b"].experiments) == ["f"]
    assert (once.version, twice.version) == (1, 2)


def test_the_check_knows_a_user_file_from_a_config_and_checks_it_against_the_config(folder: Path) -> None:
    (folder / "podium.yaml").write_text("providers: {openai: {enabled: false}, local: {}}\n")
    assert [str(problem) for problem in check_files(["podium.yaml", "users/a.yaml", "users/b.yaml"], env={})] == [
        "users/a.yaml:6: experiments.careful.providers[1]: there is no provider `groq`. Use `openai` or `local`.",
        "users/b.yaml:1: experiments.e.providers[0]: there is no provider `groq`. Use `openai` or `local`.",
    ]
    assert check_files(["users/a.yaml"], env={}) == []


def test_the_check_tells_a_problem_once_even_where_the_config_names_the_file(folder: Path) -> None:
    (folder / "podium.yaml").write_text("providers: {openai: {enabled: false}, local: {}}\nusers: users/*.yaml\n")
    problems = check_files(["podium.yaml", "users/a.yaml", "users/b.yaml"], env={})
    assert len(problems) == 2


def test_a_written_out_users_texts_are_expanded_once() -> None:
    data = {
        "providers": {"groq": {}},
        "users": {"bob": {"name": "$${NAME} ${NAME}", "experiments": {"e": {"models": ["groq/${MODEL}"]}}}},
    }
    user = compile_config(data, env={"NAME": "${MODEL}", "MODEL": "x"}).users["bob"]
    assert user.name == "${NAME} ${MODEL}"
    assert str(user.experiments["e"].targets[0]) == "groq/x"
