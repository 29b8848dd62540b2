"""What is said of broken configs, line by line; the cases are in `broken.txt`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from podium.config import check_files, compile_config, load_config
from podium.errors import ConfigError

KEY = "a-key-of-thirty-characters-here"
ENV = dict.fromkeys(("K", "OPENAI_API_KEY", "GROQ_API_KEY", "XAI_API_KEY", "ANTHROPIC_API_KEY"), KEY)

ANN = "experiments:\n  e: {providers: [nowhere/x]}\n"
BOB = "userId: ann\nexperiments: {}\n"


def cases() -> Iterator[tuple[str, str, list[str]]]:
    """Read the table: name, config, and the problems that it has."""
    text = (Path(__file__).parent / "broken.txt").read_text("utf-8")
    for block in text.split("\n# ")[1:]:
        name, *lines = block.rstrip("\n").splitlines()
        config = "".join(f"{line[2:]}\n" for line in lines if line.startswith("|"))
        yield name, config, [line[2:] for line in lines if line.startswith(">")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "ann.yaml").write_text(ANN)
    (tmp_path / "users" / "bob.yaml").write_text(BOB)
    return tmp_path


def test_the_table_is_read_whole() -> None:
    assert len({name for name, _, _ in cases()}) == len(list(cases())) > 40


@pytest.mark.parametrize(("name", "config", "expected"), list(cases()), ids=[name for name, _, _ in cases()])
def test_every_problem_is_told_with_file_line_path_and_fix(name: str, config: str, expected: list[str], folder: Path) -> None:
    (folder / "podium.yaml").write_text(config)
    assert [str(problem) for problem in check_files(["podium.yaml"], env=ENV)] == expected


@pytest.mark.parametrize(("name", "config", "expected"), list(cases()), ids=[name for name, _, _ in cases()])
def test_compiling_raises_one_error_with_the_same_problems(name: str, config: str, expected: list[str], folder: Path) -> None:
    (folder / "podium.yaml").write_text(config)
    errors = [line for line in expected if ": warning: " not in line]
    if not errors:
        compile_config(load_config("podium.yaml"), env=ENV)
        return
    with pytest.raises(ConfigError) as raised:
        compile_config(load_config("podium.yaml"), env=ENV)
    assert [str(problem) for problem in raised.value.problems] == errors
    assert str(raised.value).splitlines()[1:] == [f"  {line}" for line in errors]


def test_a_missing_file_a_folder_and_foreign_bytes_are_told(folder: Path) -> None:
    (folder / "latin.yaml").write_bytes("providers: {}\nname: J\xfcrgen\n".encode("latin-1"))
    (folder / "control.yaml").write_bytes(b"providers: {}\nname: \x07\n")
    assert [str(problem) for problem in check_files(["gone.yaml", "users", "latin.yaml", "control.yaml"])] == [
        "gone.yaml: there is no such file. Check the path; `podium init` writes a starter config.",
        "users: this is a folder, not a file. Name a file in it; for users, all of them: `folder/*.yaml`.",
        "latin.yaml:2: this is not UTF-8 text. Save the file as UTF-8.",
        "control.yaml: the file has a character that YAML does not allow. Remove control characters.",
    ]


@pytest.mark.parametrize("text", ["a: " + "[" * 100_000, "a: " + "{b: " * 100_000, "- " * 100_000])
def test_a_file_that_is_nested_without_end_is_refused(text: str, folder: Path) -> None:
    (folder / "deep.yaml").write_text(text)
    (problem,) = check_files(["deep.yaml"])
    assert problem.message in ("this is nested too deeply.", "this is not YAML: did not find expected node content.")


def test_anchors_that_contain_themselves_or_multiply_are_refused(folder: Path) -> None:
    (folder / "self.yaml").write_text("providers: &p\n  openai: *p\n")
    assert any("contains itself" in problem.message for problem in check_files(["self.yaml"]))
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    (folder / "bomb.yaml").write_text(bomb)
    assert any("more than 100,000 values" in problem.message for problem in check_files(["bomb.yaml"]))


def test_problems_of_a_dict_have_paths_and_no_lines() -> None:
    with pytest.raises(ConfigError) as raised:
        compile_config({"providers": {"openai": {"timeOut": 3}}, "tiers": {"a": {"models": ["openai"]}}}, source="here")
    assert str(raised.value).splitlines() == [
        "The config has 2 problems:",
        "  here: providers.openai.timeOut: there is no such key. Did you mean `timeout`?",
        "  here: tiers.a.models[0]: `openai` does not say which provider. Write `provider/model`.",
    ]


def test_things_that_no_config_can_hold_are_told() -> None:
    with pytest.raises(ConfigError) as raised:
        compile_config({"providers": {1: {}, "openai": {"timeout": object(), "max_concurrent": float("nan")}}}, env=ENV)
    words = str(raised.value)
    assert "keys are text" in words
    assert "providers.openai.timeout: a config cannot hold a `object`" in words
    assert "providers.openai.max_concurrent: `nan` is not a number" in words
