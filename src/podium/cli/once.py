"""One question of `podium run`: asked, and shown as whoever reads it needs.

Theory. One command serves a person who wants to read along, a script that wants the text, and a program that wants everything:
a terminal gets the text as it comes and a line about who answered; a pipe gets the text alone; `--json` gives the result whole.

Rules. A setting that was not honoured is said on stderr everywhere; who answered and why only on a terminal.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from podium.cli import console, words
from podium.cli.source import Opened, explaining_source
from podium.types import PartDelta, PartStart, Reasoning, Refusal, Text

if TYPE_CHECKING:
    from podium.engine.stream import TextStream
    from podium.types import Reasons, Result


def run(
    opened: Opened, spec: str | None, call: dict[str, Any], ask: dict[str, Any], *, why: bool, as_json: bool, quiet: bool
) -> None:
    """Ask, show the answer, and say who gave it. Raises what the call raises."""
    with explaining_source(opened):
        reads_along = console.is_terminal("out") and not as_json
        work = _stream if reads_along else _generate
        result = asyncio.run(work(opened, spec, call, ask, why=why, quiet=quiet))
    if as_json:
        console.write_json({"text": words.answer_text(result), **result.to_dict()})
    elif not console.is_terminal("out"):
        text = words.answer_text(result)
        console.write_out(text if text.endswith("\n") else text + "\n")
    if not quiet:
        _show_end(result)


async def _generate(
    opened: Opened, spec: str | None, call: dict[str, Any], ask: dict[str, Any], *, why: bool, quiet: bool
) -> Result:
    async with opened.models as models:
        reasons = models.explain(spec, user_id=call["user_id"], experiment=call["experiment"], pin=call["pin"])
        if why:
            _show_reasons(reasons)
        with Waiting(reasons, quiet=quiet):
            return await models.generate_text(spec, **call, **ask)


async def _stream(
    opened: Opened, spec: str | None, call: dict[str, Any], ask: dict[str, Any], *, why: bool, quiet: bool
) -> Result:
    async with opened.models as models, models.stream_text(spec, **call, **ask) as stream:
        if why:
            _show_reasons(stream.reasons)
        return await _read_along(stream, quiet=quiet)


async def _read_along(stream: TextStream, *, quiet: bool) -> Result:
    """Show the answer as it comes: thoughts dim, text plain."""
    terminal = console.console("out")
    kinds: dict[int, type] = {}
    last = ""
    with Waiting(stream.reasons, quiet=quiet) as waiting:
        try:
            async for event in stream:
                match event:
                    case PartStart(choice=0, index=index, part=Text(text=text) | Refusal(text=text) | Reasoning(text=text)):
                        kinds[index] = type(event.part)
                        piece = f"\n\n{text}" if last and kinds.get(index - 1) is Reasoning else text
                    case PartDelta(choice=0, index=index, text=text) if index in kinds:
                        piece = text
                    case _:
                        continue
                if not piece:
                    continue
                waiting.stop()
                if kinds[index] is Reasoning:
                    terminal.print(console.clean(piece), end="", style="dim", soft_wrap=True)
                else:
                    console.write_out(piece)
                last = piece
        finally:
            waiting.stop()
            if last and not last.endswith("\n"):
                console.write_out("\n")
    return await stream.result()


class Waiting:
    """A line on a terminal's stderr while nothing has come yet."""

    def __init__(self, reasons: Reasons, *, quiet: bool) -> None:
        self._status: Any = None
        if not quiet and console.is_terminal("err"):
            targets = ", ".join(map(str, reasons.targets[:3])) + (", ..." if len(reasons.targets) > 3 else "")
            verb = {"race": "racing", "consensus": "polling"}.get(reasons.strategy, "asking")
            self._status = console.console("err").status(console.clean(f"{verb} {targets}"))

    def stop(self) -> None:
        """Take the line away."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __enter__(self) -> Waiting:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def _show_reasons(reasons: Reasons) -> None:
    console.say(str(reasons), "dim")


def _show_end(result: Result) -> None:
    """Say on a terminal who answered and why; say everywhere what could not be honoured."""
    for loss in result.losses:
        console.say(f"Not honoured by {loss.target or result.target}: {loss.setting}: {loss.reason}", "yellow")
    if console.is_terminal("err"):
        console.say(words.summary(result), "dim")
