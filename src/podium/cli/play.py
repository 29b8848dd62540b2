"""The performance of `podium demo`: questions asked one by one, shown as they are answered, and summed up.

Rules. What is shown is read off the results, and the cancels off the simulator's own counts. A question that nobody answers is
shown as such and makes the demo fail.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.cli import console, stage, words
from podium.errors import PodiumError

if TYPE_CHECKING:
    from rich.console import Console

    from podium.cli.stage import Question, Route
    from podium.engine.models import Models
    from podium.sim import Sim
    from podium.types import Result

_MOST_TOKENS = 400
_REAL_TIMEOUT = "30s"


class Played:
    """One question, and what came of it."""

    def __init__(
        self, question: Question, route: Route, *, result: Result | None = None, error: PodiumError | None = None
    ) -> None:
        self.question = question
        self.route = route
        self.result = result
        self.error = error
        self.cancelled = 0
        """Upstream calls that were cancelled for it: counted by the simulator, or else those that lost."""

    @property
    def is_right(self) -> bool | None:
        """Whether the answer is right, where that can be checked."""
        return self.question.is_right(words.answer_text(self.result)) if self.result is not None else None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        document: dict[str, Any] = {
            "id": self.question.id,
            "route": self.route.name,
            "spec": self.route.spec,
            "prompt": self.question.prompt,
            "ok": self.result is not None,
        }
        if self.error is not None:
            return document | {"error": console.error_document(self.error)}
        assert self.result is not None
        counts = words.tokens(self.result)
        return document | {
            "text": words.answer_text(self.result),
            "right": self.is_right,
            "target": str(self.result.target),
            "why": words.why(self.result),
            "rule": self.result.reasons.rule,
            "first_content_s": words.first_content_s(self.result),
            "duration_s": self.result.duration_s,
            "tokens_in": counts[0] if counts else None,
            "tokens_out": counts[1] if counts else None,
            "attempts": [attempt.to_dict() for attempt in self.result.attempts],
            "dissent": [each.to_dict() for each in self.result.consensus.dissent] if self.result.consensus else [],
            "cancelled": self.cancelled,
        }


def perform(show: Show, *, real: bool) -> list[Played]:
    """Play the whole demo. Raises `ConfigError` where it is to be real and there is no key."""
    with tempfile.TemporaryDirectory(prefix="podium-demo-") as folder:
        return asyncio.run(_play(Path(folder), show, real=real))


async def _play(folder: Path, show: Show, *, real: bool) -> list[Played]:
    from podium.engine.models import load_models

    questions = stage.read_questions()
    async with AsyncExitStack() as stack:
        sim: Sim | None = None
        if real:
            path, routes = stage.write_real_config(folder, os.environ)
        else:
            sim = await stack.enter_async_context(stage.make_sim())
            path, routes = stage.write_config(folder, sim.url), stage.ROUTES
        models = await stack.enter_async_context(load_models(path))
        show.begin(models, sim, len(questions))
        played: list[Played] = []
        for route in routes:
            await show.route(route, models)
            for question in questions:
                if question.route == route.name:
                    one = await _ask(models, sim, question, route)
                    show.answer(one)
                    played.append(one)
    return played


async def _ask(models: Models, sim: Sim | None, question: Question, route: Route) -> Played:
    before = sim.stats.cancelled if sim is not None else 0
    timeout = None if sim is not None else _REAL_TIMEOUT
    try:
        async with models.stream_text(route.spec, prompt=question.prompt, max_tokens=_MOST_TOKENS, timeout=timeout) as stream:
            one = Played(question, route, result=await stream.result())
    except PodiumError as error:
        one = Played(question, route, error=error)
    if sim is not None:
        one.cancelled = (await sim.idle()).cancelled - before
    elif one.result is not None:
        one.cancelled = sum(attempt.outcome in ("lost", "cancelled") for attempt in one.result.attempts)
    return one


# --- what is shown ---------------------------------------------------------------------------------------------------


class Show:
    """Tells the demo on stdout as it goes, or as one JSON document at its end."""

    def __init__(self, *, json: bool, pause_s: float) -> None:
        self._json = json
        self._pause_s = pause_s
        self._terminal: Console = console.console("out")

    def begin(self, models: Models, sim: Sim | None, questions: int) -> None:
        """Say what is about to happen."""
        if self._json:
            return
        names = ", ".join(models.snapshot.providers)
        self._terminal.print(f"Podium demo: {questions} questions, five ways to ask.", style="bold")
        if sim is not None:
            self._say(
                f"Simulated providers ({names}) listen at {sim.url}. Questions that have an answer get the right one, or "
                "what a model that errs would say; open questions get made-up prose.",
                "dim",
            )
        else:
            self._say(f"Real providers ({names}), asked with your keys.", "dim")

    async def route(self, route: Route, models: Models) -> None:
        """Announce a way of asking, and leave time to read it."""
        if self._json:
            return
        from rich.text import Text

        line = Text(f"\n{route.spec}", style="bold cyan")
        line.append(f"  {route.title}", style="not bold default")
        self._terminal.print(line, soft_wrap=True)
        reasons = models.explain(route.spec)
        between = {"race": " against ", "consensus": " and "}.get(reasons.strategy, ", then ")
        self._say(f"  {between.join(map(str, reasons.targets))}", "dim")
        await asyncio.sleep(self._pause_s)

    def answer(self, one: Played) -> None:
        """Show a question, its answer, who gave it and why."""
        if self._json:
            return
        from rich.padding import Padding
        from rich.text import Text

        self._terminal.print()
        self._terminal.print(Padding(Text(f"{one.question.id:>2}. {one.question.prompt}"), (0, 0, 0, 1), expand=False))
        if one.result is None:
            self._terminal.print(
                Padding(Text(f"not answered: {console.clean(str(one.error))}", style="red"), (0, 0, 0, 4), expand=False)
            )
            return
        text = Text(console.clean(words.answer_text(one.result).strip()), style="bold")
        if one.is_right is not None:
            text.append("  right" if one.is_right else "  wrong", style="green" if one.is_right else "yellow")
        self._terminal.print(Padding(text, (0, 0, 0, 4), expand=False))
        self._terminal.print(Padding(Text(words.summary(one.result), style="dim"), (0, 0, 0, 4), expand=False))

    def end(self, played: Sequence[Played], *, real: bool) -> None:
        """Show the table of all routes, and say what was shown."""
        groups = {name: [one for one in played if one.route.name == name] for name in (route.name for route in stage.ROUTES)}
        rows = [_row(group) for group in groups.values() if group]
        failed = sum(one.result is None for one in played)
        checked = [one.is_right for one in played if one.is_right is not None]
        if self._json:
            document = {
                "ok": failed == 0,
                "simulated": not real,
                "answered": len(played) - failed,
                "failed": failed,
                "right": sum(checked),
                "checked": len(checked),
                "routes": rows,
                "questions": [one.to_dict() for one in played],
            }
            console.write_json(document)
            return
        self._table(rows, real=real)
        self._say(
            f"{len(played) - failed} of {len(played)} answered; {sum(checked)} of {len(checked)} checkable answers are right.",
            "bold",
        )
        self._say(
            "You saw one call, `models.generate_text(spec, prompt=...)`, raced, rescued, voted on, resolved and sent to a "
            "researcher's experiment, by config alone; next, `podium init` writes a config of your own and "
            '`podium run tier:fast "Hello"` asks it, and '
            + (
                "`podium sim` serves providers to test against."
                if real
                else "`podium demo --real` does all this with your keys."
            ),
            "",
        )

    def _table(self, rows: Sequence[dict[str, Any]], *, real: bool) -> None:
        from rich.table import Table

        table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
        table.add_column("route", no_wrap=True)
        table.add_column("requests", justify="right")
        table.add_column("answered by", overflow="fold")
        table.add_column("p50", justify="right", no_wrap=True)
        for title in ("tokens\nin/out", "lost" if real else "cancelled\nupstream", "failed"):
            table.add_column(title, justify="right")
        for row in rows:
            answered = "\n".join(f"{target} {count}" for target, count in row["answered_by"].items())
            table.add_row(
                row["route"],
                str(row["requests"]),
                answered or "nobody",
                console.seconds(row["p50_s"]),
                f"{row['tokens_in']:,}/{row['tokens_out']:,}",
                str(row["cancelled"]),
                str(row["failed"]),
            )
        self._terminal.print()
        self._terminal.print(table)
        self._terminal.print()

    def _say(self, text: str, style: str) -> None:
        self._terminal.print(text, style=style)


def _row(group: Sequence[Played]) -> dict[str, Any]:
    """Sum up a route."""
    results = [one.result for one in group if one.result is not None]
    counts = [words.tokens(result) or (0, 0) for result in results]
    return {
        "route": group[0].route.name,
        "spec": group[0].route.spec,
        "requests": len(group),
        "answered_by": dict(Counter(str(result.target) for result in results).most_common()),
        "p50_s": statistics.median(result.duration_s for result in results) if results else None,
        "tokens_in": sum(count[0] for count in counts),
        "tokens_out": sum(count[1] for count in counts),
        "cancelled": sum(one.cancelled for one in group),
        "failed": len(group) - len(results),
    }
