"""How an answer is told: cut to measure, counted, and turned into events.

Theory. A script is the whole answer as the pieces that would be sent. A stream plays it piece by piece; a whole answer is the
fold of the same events. What is counted is what was played, so the usage of an answer that was cut adds up too.

Rules.
- `max_tokens` counts everything the model writes, hidden thoughts first, as the vendors do.
- A stop sequence ends the text before itself; what would have followed is not said.
- The choices of a stream take turns, piece by piece; the parts of one choice follow each other.
"""

from __future__ import annotations

from collections.abc import Iterator

from podium.errors import ProtocolBroken
from podium.sim import tokens
from podium.sim.answers import Draft, draft
from podium.sim.model import SimModel
from podium.types import (
    Event,
    Extra,
    Finish,
    Finished,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Request,
    Response,
    Started,
    Text,
    ToolCall,
    Usage,
    Value,
    fold,
)

_ANTHROPIC_USAGE = {"service_tier": "standard", "inference_geo": "not_available"}
"""What Anthropic says beside its counts."""


class Line(Value, frozen=True, kw_only=True):
    """One part of an answer, and the pieces it is sent in."""

    shell: Part
    pieces: tuple[str, ...]
    cost: int = 0
    """Tokens that the shell itself costs: a tool's name."""
    end_extra: Extra = {}
    """What is said once the part is whole: a thought's signature."""


class Role(Value, frozen=True, kw_only=True):
    """One choice of an answer."""

    lines: tuple[Line, ...]
    finish: Finish
    hidden: int = 0
    """Tokens of thought that are not shown."""


class Script(Value, frozen=True, kw_only=True):
    """A whole answer, ready to be played."""

    started: Started
    roles: tuple[Role, ...]
    input_tokens: int

    @property
    def hidden(self) -> int:
        """Tokens of thought before the first that is sent."""
        return sum(role.hidden for role in self.roles)


class Beat(Value, frozen=True, kw_only=True):
    """One event of a script, and the tokens that it carries."""

    event: Event
    tokens: int = 0


def write(request: Request, settings: SimModel, *, dialect: str, seed: object, started: Started) -> Script:
    """Write the script of an answer to a request."""
    limit = request.sampling.max_tokens
    if settings.max_output is not None:
        limit = settings.max_output if limit is None else min(limit, settings.max_output)
    roles = []
    for choice in range(request.sampling.n or 1):
        written = draft(request, settings, dialect=dialect, seed=seed, choice=choice)
        roles.append(_cut(written, limit, request.sampling.stop or ()))
    return Script(started=started, roles=tuple(roles), input_tokens=tokens.count_request(request))


def play(script: Script) -> Iterator[Beat]:
    """Give the events of a script up to, and without, its end."""
    yield Beat(event=script.started)
    turns = [_play_role(role) for role in script.roles]
    while turns:
        left = []
        for turn in turns:
            beat = next(turn, None)
            if beat is not None:
                yield beat
                left.append(turn)
        turns = left


def respond(script: Script, dialect: str) -> Response:
    """Fold a script into a whole answer.

    A tool call that was cut is no JSON any more; OpenAI gives the torn text, Anthropic, whose input is an object, an empty one.
    """
    response = fold([*(beat.event for beat in play(script)), finished(script)])
    if dialect != "anthropic":
        return response
    return response.replace(
        choices=tuple(
            choice.replace(parts=tuple(map(_mended, choice.parts))) if choice.finish.reason == "length" else choice
            for choice in response.choices
        )
    )


def _mended(part: Part) -> Part:
    if not isinstance(part, ToolCall):
        return part
    try:
        part.load_arguments()
    except ProtocolBroken:
        return part.replace(arguments="{}")
    return part


def finished(script: Script) -> Finished:
    """Give the last event of a script that was played whole."""
    return Finished(finishes=tuple(role.finish for role in script.roles), usage=usage_of(script))


def usage_of(script: Script) -> Usage:
    """Count what a script costs when it is played whole."""
    written = thought = 0
    for role in script.roles:
        thought += role.hidden
        for line in role.lines:
            if isinstance(line.shell, Reasoning):
                thought += len(line.pieces)
            else:
                written += line.cost + len(line.pieces)
    extra = {"anthropic": _ANTHROPIC_USAGE} if "anthropic" in script.started.extra else {}
    return Usage(input=script.input_tokens, output=written, reasoning=thought, extra=extra)


def _play_role(role: Role) -> Iterator[Beat]:
    choice = role.finish.choice
    for index, line in enumerate(role.lines):
        yield Beat(event=PartStart(index=index, part=line.shell, choice=choice), tokens=line.cost)
        for piece in line.pieces:
            yield Beat(event=PartDelta(index=index, text=piece, choice=choice), tokens=1)
        yield Beat(event=PartEnd(index=index, choice=choice, extra=line.end_extra))


def _line(part: Part) -> Line:
    match part:
        case ToolCall():
            return Line(
                shell=part.replace(arguments=""),
                pieces=tuple(tokens.pieces(part.arguments)),
                cost=tokens.count(part.name),
            )
        case Reasoning():
            return Line(shell=part.replace(text="", extra={}), pieces=tuple(tokens.pieces(part.text)), end_extra=part.extra)
        case Text() | Refusal():
            return Line(shell=part.replace(text=""), pieces=tuple(tokens.pieces(part.text)))
    raise TypeError(f"a simulated model does not say {type(part).__name__}")


def _cut(written: Draft, limit: int | None, stops: tuple[str, ...]) -> Role:
    parts, finish = _stopped(written, stops)
    left = limit if limit is not None else 1 << 60
    hidden = min(tokens.count(written.hidden_reasoning), left)
    left -= hidden
    lines: list[Line] = []
    for part in parts:
        line = _line(part)
        if line.cost + len(line.pieces) > left:
            if left > line.cost:
                lines.append(line.replace(pieces=line.pieces[: left - line.cost], end_extra={}))
            finish = Finish(choice=finish.choice, reason="length")
            break
        left -= line.cost + len(line.pieces)
        lines.append(line)
    return Role(lines=tuple(lines), finish=finish, hidden=hidden)


def _stopped(written: Draft, stops: tuple[str, ...]) -> tuple[tuple[Part, ...], Finish]:
    kept: list[Part] = []
    for part in written.parts:
        if isinstance(part, Text):
            found = [(position, stop) for stop in stops if stop and (position := part.text.find(stop)) >= 0]
            if found:
                position, stop = min(found)
                if position:
                    kept.append(part.replace(text=part.text[:position]))
                return tuple(kept), Finish(choice=written.finish.choice, reason="stop", stop_sequence=stop)
        kept.append(part)
    return tuple(kept), written.finish
