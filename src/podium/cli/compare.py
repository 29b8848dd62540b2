"""`podium compare`: ask two sides the prompts of a file, and say which is better.

Here are the options, and what they mean; the work is in `podium.cli.comparing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import complete, console
from podium.cli.asking import check_pattern, load_ask, load_timeout, load_usd
from podium.cli.files import check_files
from podium.cli.options import (
    ConcurrencyOption,
    ConfigOption,
    FreshOption,
    JsonOption,
    JudgeOption,
    MaxCostOption,
    MaxTokensOption,
    OutOption,
    OutputOption,
    PatternOption,
    QuietOption,
    ReportOption,
    RetryFailedOption,
    StrictOption,
    SystemOption,
    TemperatureOption,
    ThinkingOption,
    TimeoutOption,
    UserOption,
    YesOption,
    config_of,
)
from podium.cli.source import Opened, explaining_source, open_models

if TYPE_CHECKING:
    from podium.cli.compared import Compared
    from podium.cli.comparing import Comparing, Settings
    from podium.cli.pairs import Pair, Sides
    from podium.engine.forecast import Forecast
    from podium.engine.models import Models


def compare(
    context: typer.Context,
    prompts: Annotated[
        str,
        typer.Argument(metavar="PROMPTS", help="A file of prompts, one JSON object a line, as `podium run` takes it."),
    ],
    old: Annotated[
        str,
        typer.Option("--old", metavar="SPEC", help="What is asked today; taken as written.", autocompletion=complete.specs),
    ],
    new: Annotated[
        str,
        typer.Option("--new", metavar="SPEC", help="What is to be asked; taken as written.", autocompletion=complete.specs),
    ],
    out: OutOption = None,
    report: ReportOption = None,
    judge: JudgeOption = "auto",
    answer_pattern: PatternOption = None,
    category: Annotated[
        str, typer.Option("--category", metavar="FIELD", help="The field of the prompts that says of what kind each is.")
    ] = "category",
    user: UserOption = None,
    system: SystemOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    thinking: ThinkingOption = None,
    output: OutputOption = None,
    timeout: TimeoutOption = None,
    strict: StrictOption = False,
    concurrency: ConcurrencyOption = 8,
    max_cost: MaxCostOption = None,
    yes: YesOption = False,
    retry_failed: RetryFailedOption = False,
    fresh: FreshOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Ask two sides the prompts of a file at the same time, and say which is better.

    Besides `prompt` or `messages`, a line may have a `category`, and `expect`: what a right answer contains.

    [bold]Examples[/bold]

      podium compare prompts.jsonl --old openai/gpt-4o --new tier:high

      podium compare prompts.jsonl --old gpt-4o --new tier:high --out compared.jsonl --report report.html

      podium compare prompts.jsonl --old gpt-4o --new tier:fast --max-cost 2 --max-tokens 300 --json
    """
    from podium.cli.comparing import Settings
    from podium.cli.pairs import Sides
    from podium.routing.compare import load_judge

    with console.errors_as_json(json):
        ask = load_ask(
            system=system, max_tokens=max_tokens, temperature=temperature, thinking=thinking, output=output, strict=strict
        )
        settings = Settings(
            command="compare", old=old, new=new, out=out, report=report, fresh=fresh, retry_failed=retry_failed,
            concurrency=concurrency, max_cost_usd=load_usd(max_cost), yes=yes, quiet=quiet, json=json,
        )  # fmt: skip
        check_files(prompts, out, report)
        check_pattern(answer_pattern)
        sides = Sides(old=old, new=new, judge=load_judge(judge), answer_pattern=answer_pattern)
        opened = open_models(config_of(context, config))
        pairs = _read(opened, prompts, sides, user_id=user, timeout=load_timeout(timeout), ask=ask, category=category)
        code = _comparing(opened.models, pairs, sides, settings).run()
    raise typer.Exit(code)


def _read(opened: Opened, prompts: str, sides: Sides, **settings: Any) -> list[Pair]:
    """Read the whole file; nothing is sent yet."""
    from podium.cli.pairs import read_pairs

    with explaining_source(opened):
        return read_pairs(prompts, opened.models, sides, **settings)


def _comparing(models: Models, pairs: list[Pair], sides: Sides, settings: Settings) -> Comparing[Pair]:
    from podium.cli.comparing import Comparing

    at_work = _Pairs(models, sides)
    return Comparing(models, pairs, settings, ask=at_work.ask, highest=at_work.highest, renew=at_work.renew)


class _Pairs:
    """What is done with a pair."""

    def __init__(self, models: Models, sides: Sides) -> None:
        self._models = models
        self._sides = sides

    async def ask(self, pair: Pair) -> Compared:
        from podium.cli.compared import Compared, shown_prompt
        from podium.engine.text import load_request

        sides = self._sides
        comparison = await self._models.compare(
            new=sides.new,
            old=sides.old,
            user_id=pair.user_id,
            timeout=pair.timeout,
            judge=sides.judge,
            answer_pattern=sides.answer_pattern,
            **pair.ask,
        )
        return Compared(
            line=pair.line,
            id=pair.id,
            prompt=shown_prompt(load_request("", pair.ask, stream=False)),
            category=pair.category,
            expect=pair.expect,
            comparison=comparison,
        )

    def highest(self, pair: Pair) -> Forecast:
        from podium.engine.forecast import Forecast, forecast
        from podium.engine.text import load_request

        request = load_request("", pair.ask, stream=False)
        old, new = (
            forecast(self._models, spec, request, user_id=pair.user_id, pin=True) for spec in (self._sides.old, self._sides.new)
        )
        return Forecast(usd=old.usd + new.usd, unknown=(*old.unknown, *new.unknown))

    def renew(self, pair: Pair, document: dict[str, Any]) -> dict[str, Any]:
        """Bring an earlier result to today's category and `expect`, which need nobody's answer."""
        from podium.cli.compared import load_compared

        return load_compared(document).replace(line=pair.line, category=pair.category, expect=pair.expect).to_document()
