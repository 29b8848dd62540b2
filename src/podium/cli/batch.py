"""`podium run SPEC prompts.jsonl`: many prompts, a few at a time.

Theory. Each result is written at once. A failed prompt is a result too: the run goes on, and the exit code says that
something failed. Ctrl-C ends the calls under way (upstream too) and keeps what is done.

Rules. Nothing is sent before the whole file is known to be good.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from podium.cli import console, words
from podium.cli.files import check_files
from podium.cli.jobs import Job, read_jobs
from podium.cli.results import Results
from podium.cli.source import Opened, explaining_source
from podium.cli.working import Bar, work_off
from podium.errors import PodiumError

if TYPE_CHECKING:
    from podium.engine.models import Models
    from podium.types import Result


class Tally:
    """What a batch has come to."""

    def __init__(self) -> None:
        self.answered = 0
        self.failed = 0
        self.tokens = 0
        self.cost_usd = Decimal(0)
        self.first_error: str | None = None

    def count(self, result: Result) -> None:
        """Count an answer."""
        self.answered += 1
        self.tokens += sum(words.tokens(result) or (0, 0))
        self.cost_usd += result.cost_usd or 0

    def count_error(self, job: Job, error: PodiumError) -> None:
        """Count a failure."""
        self.failed += 1
        if self.first_error is None:
            self.first_error = f"line {job.line}: {console.short(error.message, 300)}"


def run(
    opened: Opened,
    questions: str,
    *,
    spec: str | None,
    call: Mapping[str, Any],
    ask: Mapping[str, Any],
    out: str | None,
    fresh: bool,
    concurrency: int,
    whole: bool,
    quiet: bool,
) -> int:
    """Ask all prompts of a file and write their results; return the exit code.

    `whole` puts each result whole into its line. Raises `RequestError`, before anything is sent, for a file that is wrong.
    """
    check_files(questions, out)
    with explaining_source(opened):
        jobs = read_jobs(questions, opened.models, spec=spec, call=call, ask=ask)
    results = Results(out, jobs, fresh=fresh)
    if not quiet:
        results.say_kept("answered", "asked")
    tally, began = Tally(), time.monotonic()
    try:
        with results:
            asyncio.run(_work(opened.models, results, tally, concurrency=concurrency, whole=whole, quiet=quiet))
    except KeyboardInterrupt:
        results.say_interrupted(len(results.kept) + tally.answered, "answered")
        return console.INTERRUPTED
    if not quiet:
        _say_end(tally, len(results.kept), len(jobs), time.monotonic() - began, out)
    elif tally.first_error:
        console.say(f"Error: {console.plural(tally.failed, 'prompt')} failed; the first: {tally.first_error}", "red")
    return console.FAILED if tally.failed else 0


async def _work(models: Models, results: Results[Job], tally: Tally, *, concurrency: int, whole: bool, quiet: bool) -> None:
    with Bar(len(results.kept), results.total, shown=not quiet and console.is_terminal("err")) as bar:

        async def ask(job: Job) -> None:
            results.add(job, await _answer(models, job, tally, whole=whole))
            failed = f", {tally.failed:,} failed" if tally.failed else ""
            bar.show(len(results.kept) + tally.answered + tally.failed, f"{console.plural(tally.tokens, 'token')}{failed}")

        async with models:
            await work_off(results.todo, ask, concurrency)


async def _answer(models: Models, job: Job, tally: Tally, *, whole: bool) -> dict[str, Any]:
    """Ask one prompt; what it fails with is its result."""
    try:
        result = await models.generate_text(job.spec, **job.call, **job.ask)
    except PodiumError as error:
        tally.count_error(job, error)
        return {"ok": False, "error": console.error_document(error)}
    tally.count(result)
    document: dict[str, Any] = {"ok": True, "text": words.answer_text(result)}
    if whole:
        return {**document, "result": result.to_dict()}
    plain = result.to_dict()
    document |= {name: plain[name] for name in ("target", "cost_usd", "duration_s", "losses", "request_id")}
    document |= {
        "target": str(result.target),
        "why": words.why(result),
        "finish_reason": result.finish_reason,
        "usage": plain["response"]["usage"],
    }
    if result.consensus is not None:
        document["agreement"] = result.consensus.agreement
        document["quorum_met"] = result.consensus.quorum_met
    return document


# --- what is shown ---------------------------------------------------------------------------------------------------


def _say_end(tally: Tally, kept: int, total: int, took_s: float, out: str | None) -> None:
    parts = [f"{tally.answered + kept:,} of {console.plural(total, 'prompt')} answered", console.seconds(took_s)]
    if tally.tokens:
        parts.append(console.plural(tally.tokens, "token"))
    if tally.cost_usd:
        parts.append(f"${tally.cost_usd:f}")
    if tally.failed:
        parts[0] += f", {tally.failed:,} failed"
    console.say(f"{' · '.join(parts)}{f' · results in {out}' if out else ''}", "dim")
    if tally.first_error:
        console.say(f"The first that failed, {tally.first_error}", "red")
        if out:
            console.say("Run the same command again to try only what failed.", "dim")
