"""What the commands say, and how: answers on stdout, everything else on stderr.

Theory. A program that is piped wants its answer and nothing else; a person wants to know what happened. So stdout carries
answers and documents only, and notes, progress and errors go to stderr, styled where it is a terminal.

Rules.
- No text from outside (a model, a provider, a file) reaches a terminal with control characters in it: they could move the
  cursor, set the title or fill the clipboard.
- Colours are rich's: none where `NO_COLOR` is set or the stream is no terminal.
- Exit codes: 0 done, 1 the request failed, 2 wrong usage or config, 130 interrupted (by Ctrl-C or SIGTERM).
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import typer

from podium.errors import AllTargetsFailed, ConfigError, PodiumError, RequestError, SpecError

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
USAGE = 2
INTERRUPTED = 130

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PIPED_WIDTH = 160
_CANDIDATES_SHOWN = 12


def clean(text: str) -> str:
    """Return a text without control characters, tabs and newlines apart."""
    return _CONTROL.sub("", text)


def short(text: str, width: int) -> str:
    """Return a text on one line, cut to a width."""
    line = " ".join(clean(text).split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def console(stream: Literal["out", "err"]) -> Console:
    """Make a console on stdout or stderr as they are now."""
    from rich.console import Console

    file = sys.stdout if stream == "out" else sys.stderr
    wide = None if file.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    return Console(file=file, highlight=False, markup=False, emoji=False, width=wide)


def is_terminal(stream: Literal["in", "out", "err"]) -> bool:
    """Say whether a standard stream is a terminal."""
    file = {"in": sys.stdin, "out": sys.stdout, "err": sys.stderr}[stream]
    return file is not None and not file.closed and file.isatty()


def say(text: str, style: str = "") -> None:
    """Write a line on stderr."""
    console("err").print(clean(text), style=style, soft_wrap=True)


def write_out(text: str) -> None:
    """Write an answer on stdout, as it is; without control characters where that is a terminal."""
    sys.stdout.write(clean(text) if is_terminal("out") else text)
    sys.stdout.flush()


def write_json(document: Any) -> None:
    """Write a document on stdout, as indented JSON."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


# --- numbers ---------------------------------------------------------------------------------------------------------


def seconds(duration_s: float | None) -> str:
    """Write a duration: `85 ms`, `1.24 s`, `3 min 20 s`."""
    if duration_s is None:
        return "-"
    if duration_s < 0.9995:
        return f"{duration_s * 1000:.0f} ms"
    if duration_s < 100:
        return f"{duration_s:.2f} s"
    return f"{int(duration_s // 60)} min {int(duration_s % 60)} s"


def plural(count: int, noun: str) -> str:
    """Write a count and its noun: `1 answer`, `1,204 answers`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


# --- errors ----------------------------------------------------------------------------------------------------------


def exit_code(error: PodiumError) -> int:
    """Return the exit code that stands for an error: 2 where the command or the config is wrong, else 1."""
    return USAGE if isinstance(error, ConfigError | RequestError) else FAILED


def error_document(error: PodiumError) -> dict[str, Any]:
    """Return an error as plain values: its facts, and the candidates, problems, attempts and skipped targets that it has."""
    facts = error.to_dict()
    if isinstance(error, SpecError) and error.candidates:
        facts["candidates"] = list(error.candidates)
    if isinstance(error, ConfigError) and error.problems:
        facts["problems"] = [problem.to_dict() for problem in error.problems]
    if error.attempts:
        facts["attempts"] = [attempt.to_dict() for attempt in error.attempts]
    if isinstance(error, AllTargetsFailed) and error.skipped:
        facts["skipped"] = [each.to_dict() for each in error.skipped]
    return facts


def show_error(error: PodiumError) -> None:
    """Write an error on stderr: what happened, each attempt, what could have been meant, and what to do."""
    from rich.text import Text

    lines = Text("Error: ", style="bold red")
    tried = [attempt for attempt in error.attempts if attempt.error]
    several = len({attempt.target for attempt in tried}) > 1
    lines.append(clean(error.message.partition("\n")[0] if several else error.message), style="not bold default")
    if several:
        for attempt in tried:
            lines.append(f"\n  {attempt.number}. {attempt.target} ", style="not bold default")
            lines.append(f"after {seconds(attempt.duration_s)}: ", style="not bold dim default")
            lines.append(short(attempt.error.removeprefix(f"{attempt.target}: "), 400), style="not bold default")
        for each in error.skipped if isinstance(error, AllTargetsFailed) else ():
            lines.append(f"\n  skipped {each.name}: {each.why}", style="not bold dim default")
    elif len(tried) > 1:
        times = ", ".join(seconds(attempt.duration_s) for attempt in tried)
        lines.append(f"\n  Asked {len(tried)} times; it failed after {times}.", style="not bold dim default")
    if error.hint:
        lines.append(f"\n  {clean(error.hint)}", style="not bold cyan")
    if isinstance(error, SpecError) and (unsaid := [name for name in error.candidates if name not in str(error)]):
        lines.append(f"\n  Candidates: {', '.join(unsaid[:_CANDIDATES_SHOWN])}", style="not bold default")
        lines.append(f" and {len(unsaid) - _CANDIDATES_SHOWN} more" if len(unsaid) > _CANDIDATES_SHOWN else "")
    console("err").print(lines, soft_wrap=True)


@contextmanager
def errors_as_json(wanted: bool) -> Iterator[None]:
    """Where JSON is wanted, write an error as the command's JSON document and exit."""
    try:
        yield
    except PodiumError as error:
        if not wanted:
            raise
        write_json({"error": error_document(error)})
        raise typer.Exit(exit_code(error)) from None


def report_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write a defect of Podium's own as one line, or with its traceback where `PODIUM_DEBUG` is set (a `sys.excepthook`)."""
    if issubclass(kind, KeyboardInterrupt):  # Ctrl-C while a command is still being loaded
        say("Interrupted.")
        return
    if os.environ.get("PODIUM_DEBUG"):
        traceback.print_exception(kind, error, trace)
        return
    say(
        f"Error: Podium failed in a way it should not: {kind.__name__}: {short(str(error), 300)}\n"
        "  Set PODIUM_DEBUG=1 and run it again for the traceback, and please report it."
    )
