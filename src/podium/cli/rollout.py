"""`podium rollout`: how rollouts stand, and changing that: a rollback reaches every running process within a second.

Rules. What a command finds or made goes to stdout, also as JSON; every change says who, when and why on the rollout's record.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from podium.cli import complete, console, ramp
from podium.cli.options import ConfigOption, Group, JsonOption
from podium.cli.rollout_options import NameArgument, WhoOption, WhyOption, WindowOption, with_rollouts
from podium.cli.shadow_words import shadow_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.coordination.rollouts import Change
    from podium.engine.ramp.ramps import RampState
    from podium.engine.rollout.rollouts import Rollouts
    from podium.engine.rollout.usage import RolloutUsage, ShadowUsage
    from podium.routing.climb import Course
    from podium.routing.rollout import Rollout, Rule
    from podium.routing.snapshot import Shadow

_ALL_CHANGES = 1_000_000
_ENDED = "That ends the ramp of {}: nothing guards it any more."

app = typer.Typer(
    cls=Group,
    name="rollout",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    help="""Show how rollouts stand, and change that; a change holds in every running process within a second.

[bold]Examples[/bold]

  podium rollout list

  podium rollout set chat 25 --why "a quiet week at 10 %"

  podium rollout disable chat

  podium rollout undo chat

  podium rollout ramp chat start""",
)
app.command()(ramp.ramp)
app.command()(ramp.watch)


@app.command("list")
def list_(context: typer.Context, json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the rollouts and how they stand.

    [bold]Example[/bold]

      podium rollout list
    """
    found = with_rollouts(context, json, config, lambda rollouts: rollouts.list())
    if json:
        console.write_json({"rollouts": [rollout.to_dict() for rollout in found]})
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for title in ("name", "percent", "moved by", "enabled", "legacy", "candidate", "test users"):
        table.add_column(title, no_wrap=title != "test users", overflow="fold")
    for each in found:
        sides = (each.legacy or "(yours)", each.candidate or "(as asked)")
        moved_by = "hand" if each.stage is None else "its ramp"
        enabled, testers = "yes" if each.enabled else "no", console.short(", ".join(each.test_users), 200)
        table.add_row(each.name, f"{each.percent:g} %", moved_by, enabled, *sides, testers)
    if found:
        console.console("out").print(table)
    else:
        console.write_out("No rollouts. Declare them under `rollouts:` in the config.\n")


class _Standing(NamedTuple):
    """All there is to show of a rollout."""

    rollout: Rollout
    usage: RolloutUsage
    last: Change | None
    shadow: Shadow | None
    shadows: ShadowUsage
    state: RampState | None
    course: Course | None
    unheard: Sequence[str]
    """What the config says, and the store does not follow."""


@app.command()
def show(
    context: typer.Context,
    name: NameArgument,
    window: WindowOption = "24h",
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show how a rollout stands, what calls really took, its shadows, its last change, and the evidence of its ramp, drawn.

    [bold]Example[/bold]

      podium rollout show chat --window 1h
    """

    def work(rollouts: Rollouts) -> _Standing:
        from podium.routing.rollout import unheard

        rollout, changes, state = _standing(rollouts, name)
        seed = changes[-1].after if changes and changes[-1].action == "seed" else rollout
        return _Standing(
            rollout=rollout,
            usage=rollouts.usage(name, window),
            last=next(iter(changes), None),
            shadow=rollouts.shadows.get(name),
            shadows=rollouts.shadow(name, window),
            state=state,
            course=rollouts.ramps.course(name),
            unheard=unheard(rollout, seed, rollouts.seeds[name]),
        )

    found = with_rollouts(context, json, config, work)
    if json:
        console.write_json(_document(found))
        return
    lines = "".join(f"  {title:<12} {text}\n" for title, text in _facts(found, window))
    console.write_out(f"{found.rollout.name}\n{lines}")
    terminal = console.console("out")
    for line in ramp.lines(found.rollout, found.state, found.course, terminal.width):
        terminal.print(line)


@app.command("set")
def set_(
    context: typer.Context,
    name: NameArgument,
    percent: Annotated[
        str | None, typer.Argument(metavar="PERCENT", help="0 to 100; test users keep the candidate at 0.")
    ] = None,
    candidate: Annotated[
        str | None, typer.Option("--candidate", metavar="SPEC", help="A new candidate.", autocompletion=complete.specs)
    ] = None,
    legacy: Annotated[
        str | None, typer.Option("--legacy", metavar="SPEC", help="A new legacy spec.", autocompletion=complete.specs)
    ] = None,
    why: WhyOption = None,
    who: WhoOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Set how many percent take the candidate, or an arm's spec.

    [bold]Examples[/bold]

      podium rollout set chat 25

      podium rollout set chat 0 --why "answers too long"
    """

    def work(rollouts: Rollouts) -> tuple[Rollout, Rollout]:
        before = rollouts.show(name)
        return before, rollouts.set(name, percent=percent, candidate=candidate, legacy=legacy, why=why, who=who)

    before, after = with_rollouts(context, json, config, work)
    _tell(after, json)
    if before.stage is not None:
        console.say(_ENDED.format(name), "yellow")


@app.command()
def enable(
    context: typer.Context,
    name: NameArgument,
    why: WhyOption = None,
    who: WhoOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Switch a rollout on.

    [bold]Example[/bold]

      podium rollout enable chat
    """
    _tell(with_rollouts(context, json, config, lambda rollouts: rollouts.enable(name, why=why, who=who)), json)


@app.command()
def disable(
    context: typer.Context,
    name: NameArgument,
    why: WhyOption = None,
    who: WhoOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Switch a rollout off: everybody gets legacy, test users too.

    [bold]Example[/bold]

      podium rollout disable chat --why "errors at the candidate"
    """
    _tell(with_rollouts(context, json, config, lambda rollouts: rollouts.disable(name, why=why, who=who)), json)


UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.", autocompletion=complete.users)]


@app.command("add-user")
def add_user(
    context: typer.Context,
    name: NameArgument,
    user: UserArgument,
    why: WhyOption = None,
    who: WhoOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let a user take the candidate at any percentage.

    [bold]Example[/bold]

      podium rollout add-user chat researcher-1
    """
    _tell(with_rollouts(context, json, config, lambda rollouts: rollouts.add_user(name, user, why=why, who=who)), json)


@app.command("remove-user")
def remove_user(
    context: typer.Context,
    name: NameArgument,
    user: UserArgument,
    why: WhyOption = None,
    who: WhoOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let a test user be one of all again.

    [bold]Example[/bold]

      podium rollout remove-user chat researcher-1
    """
    _tell(with_rollouts(context, json, config, lambda rollouts: rollouts.remove_user(name, user, why=why, who=who)), json)


@app.command()
def undo(
    context: typer.Context,
    name: NameArgument,
    why: WhyOption = None,
    who: WhoOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take back the last change; asked again, the one before it.

    [bold]Example[/bold]

      podium rollout undo chat
    """

    def work(rollouts: Rollouts) -> tuple[Change, bool]:
        return rollouts.undo(name, why=why, who=who), rollouts.ramps.course(name) is not None

    change, ramps = with_rollouts(context, json, config, work)
    if json:
        console.write_json({"change": change.to_dict()})
    else:
        console.write_out(f"Took back change {change.undoes}. {_stands(change.after)}\n")
    if change.after.stage is None and change.before is not None and change.before.stage is not None:
        console.say(_ENDED.format(name), "yellow")
    elif ramps and change.after.stage is None and change.after.enabled and change.after.percent > 0:
        console.say(f"Nothing guards it: `podium rollout ramp {name} start` begins a ramp from there.", "yellow")


@app.command()
def history(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The rollout; all of them by default.", autocompletion=complete.rollouts),
    ] = None,
    most: Annotated[int, typer.Option("--most", "-n", metavar="COUNT", min=1, help="How many changes.")] = 20,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the last changes: when, who, what and why, the latest first.

    [bold]Example[/bold]

      podium rollout history chat
    """
    changes = with_rollouts(context, json, config, lambda rollouts: rollouts.history(name, most=most))
    if json:
        console.write_json({"changes": [change.to_dict() for change in changes]})
        return
    for change in changes:
        console.write_out(f"{change.id:>4}  {'' if name else f'{change.name}: '}{_change(change)}\n")


def _standing(rollouts: Rollouts, name: str) -> tuple[Rollout, Sequence[Change], RampState | None]:
    """How a rollout stands, its changes, and how its ramp stands: all of one moment, as far as others leave one."""
    rollout = rollouts.show(name)
    for _ in range(5):
        state, changes = rollouts.ramps.state(name), rollouts.history(name, most=_ALL_CHANGES)
        rollout = changes[0].after if changes else rollout
        if state is None or state.rollout == rollout:
            break
    return rollout, changes, state


# --- words -----------------------------------------------------------------------------------------------------------


def _document(found: _Standing) -> dict[str, Any]:
    """All there is to show, as plain values."""
    return {
        "rollout": found.rollout.to_dict(),
        "usage": found.usage.to_dict(),
        "last_change": None if found.last is None else found.last.to_dict(),
        "shadow": {"settings": None if found.shadow is None else found.shadow.to_dict(), "usage": found.shadows.to_dict()},
        "ramp": ramp.document(found.state),
        "config_not_followed": list(found.unheard),
    }


def _facts(found: _Standing, window: str) -> list[tuple[str, str]]:
    """Titles and texts of how a rollout stands, but for its ramp."""
    rollout, usage, last, ignored = found.rollout, found.usage, found.last, found.unheard
    calls = usage.legacy + usage.candidate
    took = f"{usage.candidate:,} of {console.plural(calls, 'call')} ({usage.percent:.1f} %)" if calls else "no call"
    lines = [
        (
            "percent",
            f"{rollout.percent:g} % of each {rollout.unit}" if rollout.enabled else f"{rollout.percent:g} %, but disabled",
        ),
        ("really", f"{took} took the candidate in the last {window}"),
        ("legacy", rollout.legacy or "your own function, or what the call means without the rollout"),
        ("candidate", rollout.candidate or "what the call asks for, as written"),
        ("match", ", ".join(rollout.match) or "calls that name the rollout"),
        ("test users", console.short(", ".join(rollout.test_users), 1000) or "none"),
        ("rules", "; ".join(map(_rule, rollout.rules)) or "none"),
        ("draws by", f"{rollout.hash}" + (f", salt {rollout.salt}" if rollout.hash == "sha256" else "")),
        *shadow_lines(found.shadow, found.shadows, window),
        ("last change", "none" if last is None else _change(last)),
    ]
    if ignored:
        keys = ", ".join(ignored)
        lines.append(("config", f"says {keys} differently now, which is not followed: `podium rollout set`, or a new name"))
    return lines


def _tell(rollout: Rollout, json: bool) -> None:
    if json:
        console.write_json({"rollout": rollout.to_dict()})
    else:
        console.write_out(f"{_stands(rollout)}\n")


def _stands(rollout: Rollout) -> str:
    if not rollout.enabled:
        return f"{rollout.name} is disabled: everybody gets legacy (it is set to {rollout.percent:g} %)."
    testers = f", and {console.plural(len(rollout.test_users), 'test user')}" if rollout.test_users else ""
    return f"{rollout.name} gives the candidate to {rollout.percent:g} %{testers}."


def _rule(rule: Rule) -> str:
    named = (("user", rule.user), ("team", rule.team), ("tag", rule.tag))
    whom = " and ".join(f"{what} {value}" for what, value in named if value is not None)
    return f"{whom}: {rule.arm or f'{rule.percent:g} %'}"


def _change(change: Change) -> str:
    """Say a change on one line."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(change.at))
    why = change.why or ""
    if change.action == "ramp":  # below the first line is its evidence, which `show` and `--json` have
        why = why.partition("\n")[0]
    why = f" ({console.short(why, 200)})" if why else ""
    return f"{when}  {change.who}: {_what(change)}{why}"


def _what(change: Change) -> str:
    before, after = change.before, change.after
    if before is None:
        how = "from the last known state" if change.action == "restore" else "as the config says"
        return f"began {how}, at {after.percent:g} %"
    told = [_became(field, getattr(before, field), getattr(after, field)) for field in _changed(before, after)]
    undone = f"undid change {change.undoes}" if change.undoes is not None else change.action.replace("_", " ")
    return f"{undone}: {', '.join(told) or 'nothing changed'}"


def _became(field: str, before: Any, after: Any) -> str:
    """Say how a field changed; of lists, which may be long, what came and what went."""
    if not isinstance(before, tuple) or not isinstance(after, tuple):
        return f"{field} {_value(before)} -> {_value(after)}"
    came, went = set(after) - set(before), set(before) - set(after)
    marked = [f"+{each}" for each in after if each in came] + [f"-{each}" for each in before if each in went]
    return f"{field} {console.short(', '.join(marked), 200)}"


def _changed(before: Rollout, after: Rollout) -> list[str]:
    return [field for field in before.__struct_fields__ if getattr(before, field) != getattr(after, field)]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    from podium.routing.rollout import Stage

    if isinstance(value, Stage):
        return f"climb {value.climb}, {'measuring' if value.step < 0 else f'step {value.step + 1}'}"
    return f"{value:g}" if isinstance(value, float) else str(value)
