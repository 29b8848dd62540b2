"""Comparing many: pairs of answers, a few at a time, within a bound of money; then what they come to.

Theory. A comparison that failed on one side is a result, and the most telling one; so it is kept and not asked again, unless
that is wished for. What says nothing about a side, as a limit of the user's or a wrong key, ends the run. Money is spent
pair by pair: where the next could pass the bound, somebody is asked, and where nobody is there, the run ends with what it has;
a later one goes on.

Rules. Each result is written at once. Whatever ends a run, its file is whole. The summary and the report are made of the file's
lines and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from podium.cli import console
from podium.cli.bound import Bound
from podium.cli.compared import Compared, load_compared
from podium.cli.jobs import L
from podium.cli.results import Results
from podium.cli.source import naming_file
from podium.cli.working import Bar, work_off
from podium.errors import PodiumError, RequestError
from podium.routing.compare import Side
from podium.routing.compare_summary import Summary, dollars, summarise
from podium.types import Value

if TYPE_CHECKING:
    from podium.engine.forecast import Forecast
    from podium.engine.models import Models

_NEVER_ASKED = frozenset({"rate_limited", "budget_exceeded", "store_error", "authentication_failed", "model_not_found"})
"""Errors of whoever asks: a limit of Podium's own, a wrong key, a model that there is not."""


class Settings(Value, frozen=True, kw_only=True):
    """How many are compared, and where it goes."""

    command: str
    """Which command writes the file of results."""
    old: str
    new: str
    note: str | None = None
    """What a reader of the figures has to know."""
    out: str | None = None
    report: str | None = None
    fresh: bool = False
    retry_failed: bool = False
    concurrency: int = 8
    max_cost_usd: Decimal | None = None
    yes: bool = False
    quiet: bool = False
    json: bool = False


class Comparing(Generic[L]):
    """A run of comparisons.

    `ask` compares one line's answers, `highest` says the most that this can cost, `renew` brings an earlier result up to date,
    `belongs` says which earlier results are kept that are of no line. Raises `RequestError` for a file of results of others.
    """

    def __init__(
        self,
        models: Models,
        lines: Sequence[L],
        settings: Settings,
        *,
        ask: Callable[[L], Awaitable[Compared]],
        highest: Callable[[L], Forecast],
        renew: Callable[[L, dict[str, Any]], dict[str, Any]] | None = None,
        belongs: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        self._models = models
        self._settings = settings
        self._ask = ask
        self._results = Results(
            settings.out,
            lines,
            fresh=settings.fresh,
            command=settings.command,
            silent=True,
            keep_failed=not settings.retry_failed,
            renew=renew,
            belongs=belongs,
        )
        self._left = {line.line: line for line in self._results.todo}
        self._highest = highest
        self._forecasts: dict[int, Forecast] = {}
        self._failed = 0
        self._cost_usd = Decimal(0)
        self._bound = Bound(None if settings.yes else settings.max_cost_usd)

    def run(self) -> int:
        """Compare what is to be compared, show what it came to, and return the exit code."""
        settings, results = self._settings, self._results
        try:
            with results:
                self._work()
        except KeyboardInterrupt:
            results.say_interrupted(self._done, "compared")
            return console.INTERRUPTED
        compared = [load_compared(document) for document in results.documents()]
        summary = summarise([each.observation for each in compared])
        if settings.report is not None and compared:
            self._write_report(settings.report, compared, summary)
        stopped = self._stopped()
        if settings.json:
            self._write_json(summary, stopped)
        else:
            if compared:
                from podium.cli import compare_table

                compare_table.show(summary, settings.old, settings.new, settings.note)
            if stopped is not None:
                console.show_error(stopped)
        return console.FAILED if stopped is not None or not (summary.new.answered and summary.old.answered) else 0

    # --- the work -------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        self._forecasts = {number: self._highest(line) for number, line in self._left.items()}
        self._check_prices()
        if not self._settings.quiet:
            self._say_begin()
        began = time.monotonic()
        with asyncio.Runner() as runner:
            try:
                runner.run(self._compare_all())
                while self._bound.needed_usd is not None and self._may_go_on(self._bound.needed_usd):
                    runner.run(self._compare_all())
            finally:
                runner.run(self._models.close())
        if not self._settings.quiet:
            self._say_end(time.monotonic() - began)

    async def _compare_all(self) -> None:
        with Bar(self._done, self._results.total, shown=not self._settings.quiet and console.is_terminal("err")) as bar:

            async def one(line: L) -> None:
                await self._compare(line)
                failed = f", {self._failed:,} with a failure" if self._failed else ""
                bar.show(self._done, f"{dollars(self._cost_usd)}{failed}")

            await work_off(self._left.values(), one, self._settings.concurrency)

    @property
    def _done(self) -> int:
        return self._results.total - len(self._left)

    async def _compare(self, line: L) -> None:
        highest = self._forecasts[line.line].usd
        if not await self._bound.reserve(highest):
            return
        compared = await self._ask(line)
        sides = (compared.comparison.old, compared.comparison.new)
        self._check_meant(line, sides)
        costs = [side.cost_usd for side in sides if not side.recorded]
        known = [cost for cost in costs if cost is not None]
        self._results.add(line, compared.to_document())
        del self._left[line.line]
        self._failed += not all(side.ok for side in sides)
        self._cost_usd += sum(known, Decimal(0))
        await self._bound.settle(highest, sum(known, Decimal(0)) if len(known) == len(costs) else None)

    def _check_meant(self, line: L, sides: Sequence[Side]) -> None:
        """End the run where a side did not fail, but was never asked. Raises `PodiumError`."""
        for side in sides:
            if side.error_code in _NEVER_ASKED and not side.recorded:
                done, total = self._done, self._results.total
                kept = f" in {self._settings.out}; run it again to go on" if self._settings.out else ""
                raise PodiumError(
                    f"Stopped at line {line.line}, for that says nothing about {side.side}: {side.error}",
                    code=side.error_code,
                    hint=f"{done:,} of {total:,} prompts are compared{kept}.",
                )

    # --- money ----------------------------------------------------------------------------------------------------------

    @property
    def _highest_usd(self) -> Decimal:
        """The most that what is left can cost."""
        return sum((self._forecasts[number].usd for number in self._left), Decimal(0))

    def _check_prices(self) -> None:
        """See that a bound can be kept. Raises `RequestError` where somebody's cost is not known."""
        unknown = list(dict.fromkeys(each for number in self._left for each in self._forecasts[number].unknown))
        if not unknown:
            return
        if self._bound.limit_usd is not None:
            raise RequestError(
                f"--max-cost {dollars(self._bound.limit_usd)} cannot be kept. {unknown[0]}",
                param="max-cost",
                hint="Or leave --max-cost out, or say --yes to spend without a bound.",
            )
        if not self._settings.quiet:
            for each in unknown:
                console.say(f"Not in the costs below: {each}", "yellow")

    def _may_go_on(self, needed_usd: Decimal) -> bool:
        """Ask, where somebody is there, whether more may be spent."""
        limit_usd = self._settings.max_cost_usd
        if limit_usd is None or not (console.is_terminal("in") and console.is_terminal("err")):
            return False
        more_usd = max(limit_usd, needed_usd)
        console.say(
            f"{dollars(self._bound.spent_usd)} of {dollars(self._bound.limit_usd or limit_usd)} are spent, and the next prompt "
            f"could cost up to {dollars(needed_usd)}. {console.plural(len(self._left), 'prompt')} of {self._results.total:,} "
            f"are left, which can cost {dollars(self._highest_usd)} at most.",
            "yellow",
        )
        import typer

        try:
            wanted = typer.confirm(f"Spend up to {dollars(more_usd)} more?", err=True)
        except typer.Abort:  # Ctrl-C at the question is Ctrl-C
            raise KeyboardInterrupt from None
        if not wanted:
            return False
        self._bound.raise_by(more_usd)
        return True

    def _stopped(self) -> PodiumError | None:
        """The error of a run that ended at its bound."""
        needed_usd, limit_usd = self._bound.needed_usd, self._bound.limit_usd
        if needed_usd is None or limit_usd is None or not self._left:
            return None
        keeps = f"What is done is kept in {self._settings.out}; to go on, run" if self._settings.out else "Run"
        return PodiumError(
            f"Stopped before it could cost more than {dollars(limit_usd)}: {self._done:,} of "
            f"{console.plural(self._results.total, 'prompt')} are compared for {dollars(self._bound.spent_usd)}, and the next "
            f"could cost up to {dollars(needed_usd)}.",
            code="max_cost_reached",
            hint=f"{keeps} it with a higher --max-cost, with --yes, or with a --max-tokens, which makes that bound closer.",
        )

    # --- what is shown --------------------------------------------------------------------------------------------------

    def _say_begin(self) -> None:
        self._results.say_kept("compared", "compared")
        if self._left and (highest_usd := self._highest_usd):
            bound = (
                "" if self._bound.limit_usd is None else f"; it ends or asks before it passes {dollars(self._bound.limit_usd)}"
            )
            console.say(
                f"{console.plural(len(self._left), 'prompt')} can cost {dollars(highest_usd)} at most, with the longest "
                f"answers that there can be{bound}.",
                "dim",
            )

    def _say_end(self, took_s: float) -> None:
        settings = self._settings
        parts = [f"{self._done:,} of {console.plural(self._results.total, 'prompt')} compared", console.seconds(took_s)]
        if self._cost_usd:
            parts.append(dollars(self._cost_usd))
        if self._failed:
            parts[0] += f", {self._failed:,} with a failure"
        console.say(f"{' · '.join(parts)}{f' · results in {settings.out}' if settings.out else ''}", "dim")

    def _write_report(self, path: str, compared: Sequence[Compared], summary: Summary) -> None:
        from podium.cli.report import make_page

        settings = self._settings
        page = make_page(compared, summary, old=settings.old, new=settings.new, note=settings.note, made_at=time.time())
        with naming_file(path, "The report"):
            Path(path).write_text(page, "utf-8")
        if not self._settings.quiet:
            console.say(f"Report: {path}", "dim")

    def _write_json(self, summary: Summary, stopped: PodiumError | None) -> None:
        settings = self._settings
        document: dict[str, Any] = {"old": settings.old, "new": settings.new, "summary": summary.to_dict()}
        if settings.note is not None:
            document["note"] = settings.note
        document |= {"prompts": self._results.total, "compared": self._done, "out": settings.out, "report": settings.report}
        document["spent_usd"] = f"{self._cost_usd:f}"
        if stopped is not None:
            document["error"] = console.error_document(stopped)
        console.write_json(document)
