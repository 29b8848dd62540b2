"""`podium rollout ramp` and `podium rollout watch`: rollouts that climb by themselves, begun, held, and looked at.

Rules. Nothing here judges: the processes that serve do. A command changes the store or reads it, and says what it found in the
words of the verdict. Where stdout is no terminal, `watch` writes a line whenever something has changed.
"""

from __future__ import annotations

import json as json_codec
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import complete, console
from podium.cli.options import ConfigOption, JsonOption
from podium.cli.rollout_options import NameArgument, WhoOption, WhyOption, with_rollouts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from podium.engine.ramp.ramps import RampState
    from podium.engine.rollout.rollouts import Rollouts
    from podium.routing.climb import Course
    from podium.routing.rollout import Rollout


class What(StrEnum):
    """What is done to a ramp."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


def ramp(
    context: typer.Context,
    name: NameArgument,
    what: Annotated[What | None, typer.Argument(metavar="ACTION", help="What to do; left out: show how it stands.")] = None,
    why: WhyOption = None,
    who: WhoOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let a rollout climb by itself: start its ramp, or pause, resume or stop it.

    The guard rolls back while it is paused, too. A ramp that is stopped leaves the percentage as it is, and nothing guards it.

    [bold]Examples[/bold]

      podium rollout ramp chat start

      podium rollout ramp chat pause --why "the weekend"
    """

    def work(rollouts: Rollouts) -> tuple[Rollout, RampState | None, Course | None]:
        ramps = rollouts.ramps
        if what is None:
            return rollouts.show(name), ramps.state(name), ramps.course(name)
        act = {What.START: ramps.start, What.PAUSE: ramps.pause, What.RESUME: ramps.resume, What.STOP: ramps.stop}[what]
        state = act(name, why=why, who=who)
        return state.rollout, state, ramps.course(name)

    rollout, state, course = with_rollouts(context, json, config, work)
    if json:
        console.write_json({"ramp": document(state), "course": None if course is None else course.to_dict()})
    else:
        terminal = console.console("out")
        for line in lines(rollout, state, course, terminal.width):
            terminal.print(line)


def watch(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The rollout; all of them by default.", autocompletion=complete.rollouts),
    ] = None,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", help="How often to look.", min=0.2)] = 1.0,
    until_over: Annotated[
        bool,
        typer.Option("--until-over", help="End when no ramp climbs any more; exit code 1 where one did not reach its top."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write a line of JSON whenever something has changed.")] = False,
    config: ConfigOption = None,
) -> None:
    """Watch rollouts and their ramps live, until Ctrl-C.

    Without a terminal, and with --json, it writes a line for each change.

    [bold]Examples[/bold]

      podium rollout watch chat

      podium rollout watch --until-over && echo "all the way up"
    """

    def work(rollouts: Rollouts) -> bool:
        if name is not None:
            rollouts.show(name)
        names = [name] if name is not None else [rollout.name for rollout in rollouts.list()]
        terminal = console.console("out")
        if json or not terminal.is_terminal:
            return _write_changes(rollouts, names, every, until_over, json)
        from rich.live import Live

        with Live(console=terminal, screen=True, auto_refresh=False) as live:

            def show(states: Sequence[RampState | None]) -> None:
                live.update(_screen(rollouts, names, states, terminal.width), refresh=True)

            return _again(rollouts, names, every, until_over, show)

    if not with_rollouts(context, json, config, work):
        raise typer.Exit(console.FAILED)


# --- again and again -------------------------------------------------------------------------------------------------


def _again(
    rollouts: Rollouts,
    names: Sequence[str],
    every_s: float,
    until_over: bool,
    show: Callable[[Sequence[RampState | None]], None],
) -> bool:
    """Show how ramps stand until none climbs; returns whether all reached their top."""
    while True:
        states = [rollouts.ramps.state(name) for name in names]
        show(states)
        statuses = [state.climb.status for state in states if state is not None]
        if until_over and not {"measuring", "climbing"} & set(statuses):
            return all(status in ("watching", "done") for status in statuses)
        time.sleep(every_s)


def _write_changes(rollouts: Rollouts, names: Sequence[str], every_s: float, until_over: bool, as_json: bool) -> bool:
    told: dict[str, Any] = {}

    def show(states: Sequence[RampState | None]) -> None:
        for name, state in zip(names, states, strict=True):
            rollout = rollouts.show(name) if state is None else state.rollout
            seen = (rollout.percent, rollout.enabled, _status(state), _action(state))
            if told.get(name) == seen:
                continue
            told[name] = seen
            if as_json:
                facts = {"at": time.time(), "rollout": rollout.to_dict(), "ramp": document(state, traced=False)}
                console.write_out(json_codec.dumps(facts, ensure_ascii=False) + "\n")
            else:
                now = time.strftime("%Y-%m-%d %H:%M:%S")
                console.write_out(f"{now}  {name}  {_percent(rollout)}  {_status(state)}  {_reason(state)}\n")

    return _again(rollouts, names, every_s, until_over, show)


def _screen(rollouts: Rollouts, names: Sequence[str], states: Sequence[RampState | None], width: int) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if len(names) == 1:
        usage = rollouts.usage(names[0], "5m")
        calls = usage.legacy + usage.candidate
        took = f"{usage.percent:.1f} % of {console.plural(calls, 'call')} in the last 5 minutes took the candidate"
        head = Text(f"{names[0]}  ", style="bold").append(
            f"{took if calls else 'no call in the last 5 minutes'}; {time.strftime('%H:%M:%S')}, Ctrl-C ends",
            style="not bold dim",
        )
        return Group(head, *lines(rollouts.show(names[0]), states[0], rollouts.ramps.course(names[0]), width))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for title in ("name", "percent", "really, 5 min", "ramp", ""):
        table.add_column(title, no_wrap=bool(title))
    for name, state in zip(names, states, strict=True):
        usage = rollouts.usage(name, "5m")
        really = f"{usage.percent:.1f} %" if usage.legacy + usage.candidate else "-"
        rollout = rollouts.show(name) if state is None else state.rollout
        table.add_row(name, _percent(rollout), really, _status(state), _reason(state))
    return table


# --- words -----------------------------------------------------------------------------------------------------------


def lines(rollout: Rollout, state: RampState | None, course: Course | None, width: int) -> list[RenderableType]:
    """Say how a ramp stands, and draw its evidence; nothing for a rollout that has none."""
    from rich.text import Text

    if state is None:
        if course is None:
            return [Text("  ramp         none: it is moved by hand")]
        if rollout.stage is not None:
            begin = f"`podium rollout ramp {rollout.name} start` begins anew"
            return [Text(f"  ramp         gone with its store: nothing guards the rollout; {begin}")]
        steps = ", ".join(f"{course.ramp.percent_at(step):g}" for step in range(len(course.ramp.steps)))
        return [Text(f"  ramp         not started: `podium rollout ramp {rollout.name} start` lets it climb {steps} %")]
    from podium.cli import evidence

    climb = state.climb
    facts = [("ramp", f"{_status(state)} at {_percent(state.rollout)}{_place(state)}, since {_clock(climb.step_began_at)}")]
    facts.append(("why" if climb.is_live else "ended", climb.reason))
    if state.verdict is not None and climb.is_live:
        facts.append(("verdict", state.verdict.reason))
    if state.verdict is not None:
        facts += [(evidence.TITLES[each.metric], each.words.partition(": ")[2]) for each in state.verdict.findings]
    if climb.status == "measuring":
        facts.append(("measured", f"{state.measured.answers:,} of {climb.course.ramp.samples:,} answers of legacy"))
    if limits := _limits(state):
        facts.append(("limits", limits))
    if climb.is_live and climb.course != course:
        facts.append(("config", "says another ramp or guard now, which is not followed until a ramp is started anew"))
    if climb.is_live:
        facts.append(("judged by", state.led_by or "nobody: no process that serves has heard a call lately"))
    from rich.padding import Padding
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    table.add_column(width=12, no_wrap=True)
    table.add_column()
    for title, words in facts:
        table.add_row(title, Text(console.clean(words)))
    return [Padding(table, (0, 0, 0, 2)), *evidence.draw(state, width)]


def document(state: RampState | None, *, traced: bool = True) -> dict[str, Any] | None:
    """Return how a ramp stands as plain values."""
    if state is None:
        return None
    plain = state.to_dict()
    if not traced:
        del plain["trace"]
    if state.verdict is not None:
        plain["words"] = state.verdict.words
    return plain


def _place(state: RampState) -> str:
    ramp, step = state.climb.course.ramp, state.climb.step
    return "" if step < 0 or not state.climb.is_live else f" (step {step + 1} of {len(ramp.steps)})"


def _limits(state: RampState) -> str:
    baseline = state.climb.baseline
    found = []
    if baseline.latency_s is not None:
        found.append(f"slow is over {console.seconds(baseline.latency_s)}")
    if baseline.cost_usd is not None:
        found.append(f"the cost cap is ${baseline.cost_usd:.6f} a call")
    return "; ".join(found)


def _status(state: RampState | None) -> str:
    return "-" if state is None else state.climb.status.replace("_", " ")


def _action(state: RampState | None) -> str:
    return "" if state is None or state.verdict is None or not state.climb.is_live else state.verdict.action


def _reason(state: RampState | None) -> str:
    if state is None:
        return "moved by hand"
    return state.verdict.reason if state.verdict is not None and state.climb.status == "climbing" else state.climb.reason


def _percent(rollout: Rollout) -> str:
    return f"{rollout.percent:g} %{'' if rollout.enabled else ' (disabled)'}"


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
