"""`podium run`: ask one question, or a file of them.

Here are the options, and what they mean; one question is asked in `podium.cli.once`, a file of them in `podium.cli.batch`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from podium.cli import console
from podium.cli.asking import load_ask, load_timeout
from podium.cli.options import (
    ConfigOption,
    ExperimentOption,
    JsonOption,
    MaxTokensOption,
    OutputOption,
    PinOption,
    QuietOption,
    SpecArgument,
    StrictOption,
    SystemOption,
    TemperatureOption,
    ThinkingOption,
    TimeoutOption,
    UserOption,
    config_of,
)
from podium.cli.source import find_config, open_models, read_text
from podium.errors import RequestError

_QUESTIONS = (".jsonl", ".ndjson")
_MANY = "Many prompts (JSONL)"


def run(
    context: typer.Context,
    spec: SpecArgument = None,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT",
            help="The prompt; @FILE reads it from a file, - from stdin. A .jsonl file is many prompts. Left out: stdin.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", "-f", metavar="PATH", help="Read the prompt from a file, or many from a .jsonl file.", show_default=False
        ),
    ] = None,
    user: UserOption = None,
    experiment: ExperimentOption = None,
    pin: PinOption = False,
    system: SystemOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    thinking: ThinkingOption = None,
    output: OutputOption = None,
    timeout: TimeoutOption = None,
    strict: StrictOption = False,
    why: Annotated[bool, typer.Option("--why", "-w", help="Say on stderr why these targets are asked.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="Write the results to this file; run again to go on where it stopped.",
            rich_help_panel=_MANY,
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, max=1000, help="Prompts asked at once.", rich_help_panel=_MANY)
    ] = 8,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Answer everything again, and replace what --out holds.", rich_help_panel=_MANY)
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Ask a model, a tier or an experiment.

    A terminal shows the answer as it comes; a pipe gets only its text.

    [bold]Examples[/bold]

      podium run openai/gpt-4o-mini "What is the capital of Mongolia?"

      podium run tier:fast @question.txt --system "Answer in one sentence."

      git diff | podium run tier:high --system "Review this diff."

      podium run user:jane:local_first "Hello" --json

      podium run tier:fast prompts.jsonl --out answers.jsonl
    """
    questions = _questions_file(prompt, file)
    with console.errors_as_json(json and questions is None):
        ask = load_ask(
            system=system, max_tokens=max_tokens, temperature=temperature, thinking=thinking, output=output, strict=strict
        )
        call = {"user_id": user, "experiment": experiment, "pin": pin, "timeout": load_timeout(timeout)}
        if questions is None:
            _refuse_options_of_many(out, fresh)
            ask["prompt"] = _prompt(prompt, file, spec, config=config_of(context, config))
        opened = open_models(config_of(context, config))
        if questions is None:
            from podium.cli import once

            once.run(opened, spec or None, call, ask, why=why, as_json=json, quiet=quiet)
            return
    from podium.cli import batch

    code = batch.run(
        opened, questions, spec=spec or None, call=call, ask=ask, out=out, fresh=fresh, concurrency=concurrency,
        whole=json, quiet=quiet,
    )  # fmt: skip
    raise typer.Exit(code)


def _refuse_options_of_many(out: str | None, fresh: bool) -> None:
    if out is not None or fresh:
        raise RequestError(
            "--out and --fresh are for many prompts.",
            hint="Name a .jsonl file, or redirect: `podium run ... > answer.txt`.",
        )


# --- what was asked --------------------------------------------------------------------------------------------------


def _questions_file(prompt: str | None, file: str | None) -> str | None:
    """The JSONL file that was named, if one was."""
    if prompt is not None and file is not None:
        raise RequestError("There are two prompts: an argument, and --file.", param="prompt", hint="Give one of them.")
    if file is not None:
        return file if file.endswith(_QUESTIONS) else None
    if prompt is None:
        return None
    name = prompt.removeprefix("@")
    if name.endswith(_QUESTIONS) and (prompt.startswith("@") or len(prompt.split()) == 1 or Path(prompt).is_file()):
        return name
    return None


def _prompt(prompt: str | None, file: str | None, spec: str | None, *, config: str | None) -> str:
    if file is not None:
        text, origin = read_text(file, "The prompt's file"), file
    elif prompt is not None and prompt.startswith("@") and len(prompt) > 1:
        text, origin = read_text(prompt[1:], "The prompt's file"), prompt[1:]
    elif prompt is not None and prompt != "-":
        text, origin = prompt, "the argument"
    elif prompt is None and console.is_terminal("in"):
        raise RequestError("There is no prompt.", param="prompt", hint=_prompt_hint(spec))
    else:
        _refuse_config_from_stdin(config)
        text, origin = _read_stdin(), "stdin"
    if not text.strip():
        raise RequestError(f"The prompt from {origin} is empty.", param="prompt", hint=_prompt_hint(spec))
    return text


def _refuse_config_from_stdin(config: str | None) -> None:
    """A config that is read as the prompt would be sent, with its keys."""
    path = find_config(config)
    if path is not None and path.as_posix() in ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
        raise RequestError(
            "The config and the prompt cannot both come from stdin.", param="prompt", hint="Name a file for one of them."
        )


def _prompt_hint(spec: str | None) -> str:
    if spec and len(spec.split()) > 1:
        return 'The first argument is the SPEC: `podium run tier:fast "..."`, or `podium run "" "..."` for the default.'
    return 'Give one (`podium run SPEC "What ...?"`), a file (`@question.txt`), or pipe it in.'


def _read_stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise RequestError("Stdin is not UTF-8 text.", hint="Convert it first, with `iconv` for instance.") from None
