"""`podium replay`: ask a candidate what was really asked, and compare with the answers on record.

Here are the options, and what they mean; the work is in `podium.cli.comparing`.

Rules. What is on record and cannot be asked again is counted by its reason. Results of an earlier run with the same candidate
are kept, also where their requests have left the window of time since.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from podium.cli import complete, console
from podium.cli.asking import check_pattern, load_timeout, load_usd
from podium.cli.files import check_files
from podium.cli.jobs import Line, fingerprint
from podium.cli.on_record import UntilOption, ZoneOption, load_window
from podium.cli.options import (
    ConcurrencyOption,
    ConfigOption,
    FreshOption,
    JsonOption,
    JudgeOption,
    MaxCostOption,
    OutOption,
    PatternOption,
    QuietOption,
    ReportOption,
    RetryFailedOption,
    TimeoutOption,
    YesOption,
    config_of,
)
from podium.cli.source import Opened, explaining_source, open_models
from podium.errors import RequestError

if TYPE_CHECKING:
    from podium.cli.compared import Compared
    from podium.cli.comparing import Comparing, Settings
    from podium.engine.forecast import Forecast
    from podium.engine.models import Models
    from podium.engine.replay import Past
    from podium.ledger import Recording

By = Literal["spec", "target", "user", "team"]
_REASONS = {
    "not_kept": "their texts were not kept, or are gone",
    "hashed": "only the hashes of their texts were kept",
    "cut": "they are longer than 1 MiB, and were not kept whole",
    "unreadable": "their texts are of another release",
    "provider_tools": "their provider would execute something again",
    "provider_state": "they refer to what one provider keeps",
}


def replay(
    context: typer.Context,
    candidate: Annotated[
        str | None,
        typer.Option(
            "--candidate",
            metavar="SPEC",
            help="What is asked now; taken as written. Default: the rollout's candidate.",
            autocompletion=complete.specs,
            show_default=False,
        ),
    ] = None,
    rollout: Annotated[
        str | None,
        typer.Option(
            "--rollout",
            metavar="NAME",
            help="Requests that took the legacy arm of this rollout.",
            autocompletion=complete.rollouts,
            show_default=False,
        ),
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec",
            metavar="SPEC",
            help="Requests whose callers wrote that.",
            autocompletion=complete.specs,
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str,
        typer.Option("--since", metavar="TIME", help="From when on: 2026-03-01, 2026-03-01T12:00Z, or 24h, 7d, 4w ago."),
    ] = "7d",
    until: UntilOption = None,
    tz: ZoneOption = "UTC",
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, max=100_000, help="At most so many, the newest.")
    ] = 200,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="NAME",
            help="What agreement is counted by: spec, target, user or team.",
            autocompletion=complete.one_of("spec", "target", "user", "team"),
        ),
    ] = "spec",
    out: OutOption = None,
    report: ReportOption = None,
    judge: JudgeOption = "auto",
    answer_pattern: PatternOption = None,
    timeout: TimeoutOption = None,
    concurrency: ConcurrencyOption = 8,
    max_cost: MaxCostOption = None,
    yes: YesOption = False,
    retry_failed: RetryFailedOption = False,
    fresh: FreshOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Ask a candidate what was really asked, and compare with the answers on record.

    It needs `ledger: {payloads: full}` in the config, from before the requests. Only the candidate is asked, and paid for.

    [bold]Examples[/bold]

      podium replay --since 7d --rollout chat --candidate tier:high

      podium replay --rollout chat --out replayed.jsonl --report report.html

      podium replay --spec gpt-4o --candidate tier:fast --limit 50 --by user
    """
    from podium.cli.comparing import Settings
    from podium.routing.compare import load_judge

    with console.errors_as_json(json):
        check_files(None, out, report)
        check_pattern(answer_pattern)
        limit_usd = load_usd(max_cost)
        opened = open_models(config_of(context, config))
        asked = _candidate(opened, candidate, rollout, spec)
        window = load_window(since, until, tz)
        at_work = _Replays(opened, asked, _load_by(by), load_judge(judge), answer_pattern, load_timeout(timeout))
        with explaining_source(opened):
            lines, note = at_work.find(rollout=rollout, spec=spec, most=limit, window=window, quiet=quiet)
            settings = Settings(
                command="replay", old=f"rollout {rollout}, legacy" if rollout else spec or "", new=asked, note=note, out=out,
                report=report, fresh=fresh, retry_failed=retry_failed, concurrency=concurrency, max_cost_usd=limit_usd,
                yes=yes, quiet=quiet, json=json,
            )  # fmt: skip
            comparing = _comparing(opened.models, lines, at_work, settings)
        code = comparing.run()
    raise typer.Exit(code)


def _comparing(models: Models, lines: list[Replayed], at_work: _Replays, settings: Settings) -> Comparing[Replayed]:
    from podium.cli.comparing import Comparing

    return Comparing(models, lines, settings, ask=at_work.ask, highest=at_work.highest, belongs=at_work.is_ours)


def _load_by(name: str) -> By:
    known: By
    for known in ("spec", "target", "user", "team"):
        if known == name:
            return known
    raise RequestError(f"--by {name} is nothing that requests have.", param="by", hint="Use spec, target, user or team.")


def _candidate(opened: Opened, candidate: str | None, rollout: str | None, spec: str | None) -> str:
    """What is to be asked. Raises `RequestError` where neither the command nor the rollout says it."""
    if rollout is None and spec is None:
        raise RequestError(
            "Which requests are to be asked again?", param="rollout", hint="Name --rollout NAME, or --spec SPEC."
        )
    declared = None if rollout is None else opened.models.rollouts.declared(rollout).candidate
    if not (candidate or declared):
        raise RequestError("There is no candidate.", param="candidate", hint="Name what is to be asked: --candidate tier:high.")
    return candidate or declared or ""


class Replayed(Line, frozen=True, kw_only=True):
    """One request on record that is asked again; its `id` is the request's."""

    past: Past
    category: str = ""


class _Replays:
    """What is done with requests on record."""

    def __init__(
        self, opened: Opened, candidate: str, by: By, judge: Any, pattern: str | None, timeout: int | str | None
    ) -> None:
        self._opened = opened
        self._models = opened.models
        self._candidate = candidate
        self._by = by
        self._judge = judge
        self._pattern = pattern
        self._timeout = timeout

    def find(
        self, *, rollout: str | None, spec: str | None, most: int, window: dict[str, Any], quiet: bool
    ) -> tuple[list[Replayed], str]:
        """Return what can be asked again, and a sentence on it. Raises `RequestError` where nothing can be."""
        from podium.engine.replay import find_recordings, load_past

        total, found = find_recordings(self._models, rollout=rollout, spec=spec, most=most, **window)
        whose = f"of rollout {rollout} that took its legacy arm" if rollout else f"for {spec}"
        if not found:
            raise RequestError(
                f"No request {whose} is on record in that time.",
                param="since",
                hint="Look further back with --since, or see what is there: "
                + ("`podium usage --by rollout,arm`." if rollout else "`podium usage --by tier,model`.")
                + (" What functions of your own answered is not on record." if rollout else ""),
            )
        loaded = [(recording, load_past(recording)) for recording in found]
        skipped = Counter[str](past for _, past in loaded if isinstance(past, str))
        lines = [
            self._line(number, recording, past)
            for number, (recording, past) in enumerate(loaded, 1)
            if not isinstance(past, str)
        ]
        if not lines:
            raise self._nothing_kept(len(found), whose, skipped)
        if not quiet:
            self._say_found(total, len(found), whose, skipped)
        return lines, _note(lines)

    def _line(self, number: int, recording: Recording, past: Past) -> Replayed:
        category = {
            "spec": recording.spec,
            "target": recording.target,
            "user": recording.user_id,
            "team": recording.team,
        }[self._by]
        decided = [self._candidate, self._judge, self._pattern, recording.requested_at, past.request.to_dict()]
        key = fingerprint(decided)
        return Replayed(line=number, id=recording.request_id, key=key, past=past, category=category or "")

    def _nothing_kept(self, count: int, whose: str, skipped: Counter[str]) -> RequestError:
        settings = self._models.snapshot.ledger
        why = "; ".join(f"{many:,}: {_REASONS[reason]}" for reason, many in skipped.most_common())
        if settings.payloads == "full":
            hint = "`payloads: full` is set: requests from now on can be asked again, until `keep` or `keep_size` lets them go."
        else:
            where = self._opened.path or "your config"
            hint = f"Set `ledger: {{payloads: full}}` in {where}: requests from then on can be asked again."
        return RequestError(
            f"{console.plural(count, 'request')} {whose} {'is' if count == 1 else 'are'} on record, and none can be asked "
            f"again ({why}).",
            param="rollout",
            hint=hint,
        )

    def _say_found(self, total: int, found: int, whose: str, skipped: Counter[str]) -> None:
        if total > found:
            console.say(f"{total:,} requests {whose} are on record; these are the newest {found:,} (--limit).", "dim")
        for reason, many in skipped.most_common():
            console.say(f"{console.plural(many, 'request')} cannot be asked again: {_REASONS[reason]}.", "yellow")

    async def ask(self, line: Replayed) -> Compared:
        """Ask the candidate, and compare with what is on record."""
        from podium.cli.compared import Compared, shown_prompt
        from podium.engine.replay import replay

        comparison = await replay(
            self._models,
            self._candidate,
            line.past,
            timeout=self._timeout,
            judge=self._judge,
            answer_pattern=self._pattern,
        )
        prompt = shown_prompt(line.past.request)
        return Compared(line=line.line, id=line.id, prompt=prompt, category=line.category, comparison=comparison)

    def highest(self, line: Replayed) -> Forecast:
        """The most that the candidate can cost."""
        from podium.engine.forecast import forecast

        return forecast(self._models, self._candidate, line.past.request, user_id=None, pin=True)

    def is_ours(self, document: dict[str, Any]) -> bool:
        """Whether an earlier result is of this candidate."""
        new, old = document.get("new"), document.get("old")
        if not (isinstance(new, dict) and isinstance(old, dict)):
            return False
        return new.get("spec") == self._candidate and bool(old.get("recorded"))


def _note(lines: Sequence[Replayed]) -> str:
    """When the old side was asked, for whoever reads its times."""
    ends = (line.past.recording.requested_at for line in (lines[0], lines[-1]))
    first, last = (time.strftime("%Y-%m-%d %H:%M", time.gmtime(at)) for at in ends)
    when = f"on {first}" if first == last else f"from {first} to {last}"
    return f"Old is on record, answered {when} UTC; new was asked now, so their times were not taken at the same time."
