import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import podium as package
from cli.conftest import Run
from podium.cli.main import app

COMMANDS = (
    "run", "compare", "replay", "explain", "check", "providers", "init",
    "sim", "demo", "metrics", "prices", "usage", "rollout",
)  # fmt: skip


def group() -> Any:
    return typer.main.get_command(app)


def test_the_commands_are_those_that_are_promised() -> None:
    assert tuple(group().commands) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_it_does_and_shows_an_example_of_itself(name: str) -> None:
    text = group().commands[name].help
    first, _, rest = text.partition("\n")
    assert first.endswith(".") or ":" in first
    assert f"podium {name}" in rest


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_every_option_and_argument_has_help(name: str | None) -> None:
    command = group() if name is None else group().commands[name]
    for parameter in command.params:
        assert parameter.help, f"{name} {parameter.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option(podium: Run, name: str) -> None:
    ran = podium(name, "--help")
    assert ran.code == 0
    for parameter in group().commands[name].params:
        shown = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
        assert shown.strip("[]") in ran.out, parameter.name
    assert "🆔" not in ran.out


def test_help_alone_needs_neither_the_client_nor_the_config_models_nor_the_engine() -> None:
    code = (
        "import sys\n"
        "from podium.cli.main import main\n"
        "sys.argv = ['podium', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = [n for n in ('aiohttp', 'pydantic', 'podium.engine', 'podium.sim', 'asyncio', 'yaml') if n in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("arguments", [(), *((name,) for name in COMMANDS), ("rollout", "set"), ("usage", "reprice")])
def test_a_flag_is_shown_as_one_that_takes_no_value(podium: Run, arguments: tuple[str, ...]) -> None:
    assert "bool" not in podium(*arguments, "--help").out


@pytest.mark.parametrize(("arguments", "usage"), [
    (("rollout", "set"), "NAME} [PERCENT]"), (("rollout", "ramp"), "NAME} [ACTION]"), (("init",), "[OPTIONS] [PATH]"),
])  # fmt: skip
def test_what_may_be_left_out_stands_in_one_pair_of_brackets(podium: Run, arguments: tuple[str, ...], usage: str) -> None:
    assert usage in podium(*arguments, "--help").out


def test_ctrl_c_while_a_command_is_being_loaded_is_no_defect(here: Path) -> None:
    """The interrupt comes before the group of commands is made, and so before it could tell of it."""
    code = (
        "import signal, sys\n"
        "from podium.cli import main\n"
        "sys.argv = ['podium', 'providers']\n"
        "main.typer.main.get_command = lambda app: signal.raise_signal(signal.SIGINT)\n"
        "main.main()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr == "Interrupted.\n"
    assert ran.returncode in (130, -signal.SIGINT), "which a shell calls 130"


def test_help_into_a_full_disk_says_so(process: Run) -> None:
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "podium", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: No space is left where the output goes.")


def test_the_version_is_the_packages(podium: Run) -> None:
    assert podium("--version").out == f"podium {package.__version__}\n"


def test_no_command_shows_the_help_and_an_unknown_one_suggests_the_nearest(podium: Run) -> None:
    assert "podium demo" in podium().out + podium().err
    ran = podium("rnu")
    assert ran.code == 2
    assert "run" in ran.err
