"""The values that flow through Podium: requests, messages, parts, events, usage, results.

Theory. A caller's request and a provider's answer, whatever their dialects, become these values and nothing else. An answer
is a sequence of events; a `Response` is the fold of that sequence (`fold`), so streaming and not streaming are one path.

Rules.
- Everything is frozen and keyword-only. `to_dict()` gives plain values; `load(Type, plain)` validates and takes them back.
- `extra` is keyed by dialect name and keeps what that dialect said beyond the typed fields (signatures, cache marks, ids,
  unknown keys), so that it can be said again, word for word, in the same dialect. Inside it, a key that starts with `$` is
  the codec's own note about the written form (a string where a list was possible, ...) and is never sent as it is.
- Counts in `Usage` are disjoint, so that nothing is charged twice.
- Durations are seconds and end in `_s`; instants are seconds since the epoch and end in `_at`; money is `Decimal`, `_usd`.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import chain
from typing import Any, Literal, Self, TypeVar

import msgspec

from podium.errors import PodiumError, ProtocolBroken, RequestError

Extra = dict[str, dict[str, Any]]
"""What a dialect said beyond the typed fields: `{"anthropic": {"signature": "..."}}`."""

Role = Literal["system", "developer", "user", "assistant", "tool"]
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "pause", "other"]
"""Why an answer ended: OpenAI's words, plus `pause` (Anthropic's `pause_turn`: no end) and `other`."""


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all of Podium's values."""

    def to_dict(self) -> dict[str, Any]:
        """Return this value as plain dicts, lists, strings and numbers, ready for JSON; a secret in it as its mask."""
        plain: dict[str, Any] = msgspec.to_builtins(self, enc_hook=_mask)
        return plain

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)


def _mask(value: Any) -> str:
    if isinstance(value, Secret):
        return value.mask()
    raise NotImplementedError(f"a {type(value).__name__} is no plain value")


V = TypeVar("V")


def load(kind: type[V], plain: Any) -> V:
    """Validate plain values into one of Podium's types.

    Raises `RequestError` that names the faulty path.
    """
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise RequestError(f"This is not a {kind.__name__}: {error}.", hint="See the type's fields in podium.types.") from None


class Secret:
    """A key that never shows itself: `repr`, `str` and JSON give a mask, only `reveal()` the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself, to be put in a header and nowhere else."""
        return self._value

    def mask(self) -> str:
        """Return a form that tells two keys apart and gives neither away: the last four characters of a long key."""
        return f"…{self._value[-4:]}" if len(self._value) >= 20 else "…"

    def __repr__(self) -> str:
        return f"Secret({self.mask()})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a Secret cannot be pickled or copied out")

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self


# --- Parts -----------------------------------------------------------------------------------------------------------


class Text(Value, frozen=True, kw_only=True, tag="text"):
    """Plain text."""

    text: str
    extra: Extra = {}


class Reasoning(Value, frozen=True, kw_only=True, tag="reasoning"):
    """What a model thought. Signatures and encrypted forms are in `extra` and go back only to the dialect they came from."""

    text: str = ""
    extra: Extra = {}


class Media(Value, frozen=True, kw_only=True, tag="media"):
    """An image, a sound or a document: exactly one of `data`, `url`, `file_id` and `text` is set."""

    kind: Literal["image", "audio", "document", "video"]
    media_type: str | None = None
    """MIME type, as `image/png`."""
    data: str | None = None
    """The bytes in base64, without a prefix."""
    url: str | None = None
    file_id: str | None = None
    """A file that was uploaded to the provider before."""
    text: str | None = None
    """A document that is plain text."""
    name: str | None = None
    """File name or title."""
    extra: Extra = {}


class ToolCall(Value, frozen=True, kw_only=True, tag="tool_call"):
    """A model's wish to call a tool."""

    id: str
    name: str
    arguments: str = ""
    """JSON text of an object, as the model wrote it; "" means `{}`."""
    extra: Extra = {}

    def load_arguments(self) -> dict[str, Any]:
        """Parse the arguments.

        Raises `ProtocolBroken` where the model wrote something that is no JSON object.
        """
        if not self.arguments.strip():
            return {}
        try:
            parsed = msgspec.json.decode(self.arguments)
        except msgspec.DecodeError as error:
            raise ProtocolBroken(f"The model called {self.name} with arguments that are not JSON: {error}.") from None
        if not isinstance(parsed, dict):
            raise ProtocolBroken(f"The model called {self.name} with arguments that are not a JSON object.")
        return parsed


class ToolResult(Value, frozen=True, kw_only=True, tag="tool_result"):
    """What a tool answered."""

    call_id: str
    parts: tuple[Text | Media | Opaque, ...] = ()
    name: str | None = None
    """The tool's name, where the dialect says it (Gemini needs it)."""
    is_error: bool = False
    extra: Extra = {}


class Refusal(Value, frozen=True, kw_only=True, tag="refusal"):
    """A model's words for declining, where its dialect sets them apart from text."""

    text: str = ""
    extra: Extra = {}


class Opaque(Value, frozen=True, kw_only=True, tag="opaque"):
    """Something only one dialect knows (a server tool's result, ...), carried whole and given back only to that dialect."""

    dialect: str
    data: dict[str, Any]
    extra: Extra = {}


Part = Text | Reasoning | Media | ToolCall | ToolResult | Refusal | Opaque


# --- Requests --------------------------------------------------------------------------------------------------------


class Message(Value, frozen=True, kw_only=True):
    """One turn of a conversation. Tool results have the role `tool`, however their dialect files them."""

    role: Role
    parts: tuple[Part, ...]
    extra: Extra = {}

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise RequestError(
                f"A message's role is {self.role!r}.", param="role", hint=f"Use one of {', '.join(sorted(_ROLES))}."
            )

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


class Tool(Value, frozen=True, kw_only=True, tag="tool"):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """JSON Schema of the arguments object."""
    strict: bool | None = None
    extra: Extra = {}


class ToolChoice(Value, frozen=True, kw_only=True):
    """How freely the model may call tools."""

    mode: Literal["auto", "required", "none", "tool"] | None = None
    """None: not said (the provider's default), where only `parallel` is."""
    name: str | None = None
    """The tool to call, with mode `tool`."""
    parallel: bool | None = None
    """Whether several calls in one turn are allowed; None leaves it to the provider."""
    extra: Extra = {}


class Output(Value, frozen=True, kw_only=True):
    """The form that the answer must have."""

    kind: Literal["text", "json", "json_schema"]
    schema: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    extra: Extra = {}


class Sampling(Value, frozen=True, kw_only=True):
    """How the answer is drawn; None everywhere means the provider's default."""

    max_tokens: int | None = None
    """The most tokens the answer may have, reasoning included."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None
    """How many answers to draw."""
    service_tier: str | None = None
    user: str | None = None
    """An end user's id for the provider's abuse checks."""
    extra: Extra = {}


class Thinking(Value, frozen=True, kw_only=True):
    """How much the model may reason before it answers."""

    effort: str | None = None
    """`none`, `minimal`, `low`, `medium`, `high`, `xhigh`: OpenAI's and Anthropic's words."""
    budget_tokens: int | None = None
    enabled: bool | None = None
    extra: Extra = {}


class Request(Value, frozen=True, kw_only=True):
    """What a caller asks, in no dialect."""

    model: str
    """What the caller wrote as the model; for an attempt, the target's upstream name."""
    messages: tuple[Message, ...]
    system: tuple[Text | Opaque, ...] = ()
    """The system prompt, where it stands apart from the messages."""
    tools: tuple[Tool | Opaque, ...] = ()
    tool_choice: ToolChoice | None = None
    output: Output | None = None
    sampling: Sampling = Sampling()
    thinking: Thinking | None = None
    stream: bool = False
    strict: bool = False
    """Whether a setting that the target cannot honour is an error rather than a `Loss`."""
    metadata: dict[str, Any] = {}
    """Podium's own: team, conversation, tags. Never sent to a provider."""
    extra: Extra = {}


class Loss(Value, frozen=True, kw_only=True):
    """A setting that a target could not honour, and what was done instead."""

    setting: str
    """Path in the request, as `sampling.temperature`."""
    reason: str
    target: str | None = None


class Profile(Value, frozen=True, kw_only=True):
    """Facts of a model at a provider that decide how a request is written for it (`catalog/profiles.toml`)."""

    refuses: frozenset[str] = frozenset()
    """Settings that the model rejects: fields of `Sampling` (`temperature`, `stop`, ...), `thinking`, `output.json_schema`."""
    max_tokens_field: str = "max_tokens"
    """`max_tokens` or `max_completion_tokens` (OpenAI Chat)."""
    system_role: Literal["system", "developer", "user"] = "system"
    """What the role of instructions is called (OpenAI Chat); `user`: the model takes none, and they stand as marked text."""
    thinking: Literal["none", "effort", "budget", "adaptive", "openrouter", "unknown"] = "unknown"
    """How reasoning is asked for; `unknown` passes what the caller said in the dialect's own way."""
    efforts: tuple[str, ...] = ()
    """Efforts that the model takes; empty: all."""
    max_output: int | None = None
    """The most tokens an answer may have."""
    max_temperature: float | None = None
    max_stop: int | None = None
    """The most stop sequences that the model takes."""
    call_id_pattern: str | None = None
    """A regular expression that a tool call's id must match (Mistral: nine letters or digits)."""
    stream_usage: bool = True
    """Whether `stream_options.include_usage` is understood (OpenAI Chat)."""
    tool_strict: bool = True
    """Whether a tool's `strict` is understood."""
    inline_system: bool = False
    """Whether a system message may stand inside the conversation (Anthropic, from Claude Opus 4.8 on)."""
    cache_marks: bool = False
    """Whether Anthropic's `cache_control` is taken on parts of messages (OpenRouter)."""


# --- Usage, events, responses ----------------------------------------------------------------------------------------


class Usage(Value, frozen=True, kw_only=True):
    """Tokens, in disjoint counts: no token is in two fields, and every charged token is in one."""

    input: int = 0
    """Read by the model at full price: neither from a cache nor written to one, and no audio."""
    output: int = 0
    """Written by the model, reasoning and audio apart."""
    cache_read: int = 0
    cache_write: int = 0
    """Written to a cache with the provider's default lifetime (Anthropic: five minutes)."""
    cache_write_1h: int = 0
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0
    reported_cost_usd: Decimal | None = None
    """What the provider says it cost, where it says so (OpenRouter)."""
    extra: Extra = {}

    @property
    def total_input(self) -> int:
        """All tokens that went in."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h + self.input_audio

    @property
    def total_output(self) -> int:
        """All tokens that came out."""
        return self.output + self.reasoning + self.output_audio

    @property
    def total(self) -> int:
        """All tokens."""
        return self.total_input + self.total_output


class Finish(Value, frozen=True, kw_only=True):
    """How one choice ended."""

    reason: FinishReason
    choice: int = 0
    raw: str | None = None
    """The provider's own word, where it differs or has none here."""
    stop_sequence: str | None = None
    extra: Extra = {}


class Started(Value, frozen=True, kw_only=True, tag="started"):
    """The first event of an answer."""

    id: str = ""
    model: str = ""
    """The model that answers, in the provider's words."""
    created_at: float | None = None
    extra: Extra = {}


class PartStart(Value, frozen=True, kw_only=True, tag="part_start"):
    """A part begins. `part` is its shell; deltas add to it."""

    index: int
    """Counts the parts of a choice from 0, without gaps."""
    part: Part
    choice: int = 0


class PartDelta(Value, frozen=True, kw_only=True, tag="part_delta"):
    """More of a part: `text` is added to the text of Text, Reasoning and Refusal, and to the arguments of a ToolCall."""

    index: int
    text: str = ""
    choice: int = 0
    extra: Extra = {}


class PartEnd(Value, frozen=True, kw_only=True, tag="part_end"):
    """A part is whole."""

    index: int
    choice: int = 0
    extra: Extra = {}


class Finished(Value, frozen=True, kw_only=True, tag="finished"):
    """The last event of a good answer: how each choice ended, and the final usage (None where the provider never said)."""

    finishes: tuple[Finish, ...]
    usage: Usage | None = None
    extra: Extra = {}


class Failed:
    """The last event of a stream that broke: the error, once the answer had begun."""

    __slots__ = ("error",)

    def __init__(self, *, error: PodiumError) -> None:
        self.error = error

    def __repr__(self) -> str:
        return f"Failed(error={self.error!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Failed) and (type(self.error), str(self.error), vars(self.error)) == (
            type(other.error),
            str(other.error),
            vars(other.error),
        )

    __hash__ = object.__hash__


Event = Started | PartStart | PartDelta | PartEnd | Finished | Failed
"""Order: Started, then the parts (those of one choice never overlap), then exactly one of Finished and Failed."""


class Choice(Value, frozen=True, kw_only=True):
    """One of the answers of a response."""

    parts: tuple[Part, ...]
    finish: Finish
    index: int = 0


class Response(Value, frozen=True, kw_only=True):
    """A whole answer: the fold of its events."""

    id: str = ""
    model: str = ""
    created_at: float | None = None
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    extra: Extra = {}
    """Of the answer's first event."""
    end_extra: Extra = {}
    """Of its last event."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the first choice."""
        return self.choices[0].parts if self.choices else ()

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def reasoning(self) -> str:
        """What the first choice thought, as far as the provider shows it."""
        return "".join(part.text for part in self.parts if isinstance(part, Reasoning))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of the first choice."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def finish_reason(self) -> FinishReason:
        """Why the first choice ended."""
        return self.choices[0].finish.reason if self.choices else "other"


def merge_extra(first: Extra, second: Extra) -> Extra:
    """Return both extras as one: dicts merge, lists join, anything else is overwritten by the second."""
    if not second:
        return first
    if not first:
        return second
    merged: dict[str, Any] = dict(first)
    for key, value in second.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge_extra(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            merged[key] = old + value
        else:
            merged[key] = value
    return merged


class Fold:
    """Folds events into a `Response`: `feed` each event, then take `response()`.

    Raises, from `feed`, the error of a `Failed` event; from `response()`, `ProtocolBroken` where no `Finished` came.
    """

    def __init__(self) -> None:
        self._begun = False
        self._started = Started()
        self._finished: Finished | None = None
        self._shells: dict[tuple[int, int], Part] = {}
        self._texts: dict[tuple[int, int], list[str]] = {}
        self._extras: dict[tuple[int, int], Extra] = {}

    def feed(self, event: Event) -> None:
        """Take one event."""
        self._begun = True
        match event:
            case PartDelta():
                key = (event.choice, event.index)
                if event.text:
                    self._texts[key].append(event.text)
                if event.extra:
                    self._extras[key] = merge_extra(self._extras.get(key, {}), event.extra)
            case PartStart():
                key = (event.choice, event.index)
                self._shells[key] = event.part
                self._texts[key] = []
            case PartEnd():
                if event.extra:
                    key = (event.choice, event.index)
                    self._extras[key] = merge_extra(self._extras.get(key, {}), event.extra)
            case Started():
                self._started = event
            case Finished():
                self._finished = event
            case Failed():
                raise event.error

    @property
    def begun(self) -> bool:
        """Whether any event has come."""
        return self._begun

    @property
    def written(self) -> int:
        """How many bytes of text have come so far: what parts began with, and what deltas added."""
        begun = (part.text for part in self._shells.values() if isinstance(part, Text | Reasoning | Refusal))
        added = (text for texts in self._texts.values() for text in texts)
        return sum(len(text.encode("utf-8", "surrogatepass")) for text in chain(begun, added))

    def _whole(self, key: tuple[int, int]) -> Part:
        part = self._shells[key]
        text = "".join(self._texts[key])
        changes: dict[str, Any] = {}
        if text and isinstance(part, ToolCall):
            changes["arguments"] = part.arguments + text
        elif text and isinstance(part, Text | Reasoning | Refusal):
            changes["text"] = part.text + text
        if extra := self._extras.get(key):
            changes["extra"] = merge_extra(part.extra, extra)
        return part.replace(**changes) if changes else part

    def parts(self, choice: int = 0) -> tuple[Part, ...]:
        """The parts of one choice as far as they have come."""
        return tuple(self._whole(key) for key in sorted(self._shells) if key[0] == choice)

    def response(self) -> Response:
        """The whole answer."""
        if self._finished is None:
            raise ProtocolBroken("The answer ended without saying how.", hint="Ask again, or another target.")
        return Response(
            id=self._started.id,
            model=self._started.model,
            created_at=self._started.created_at,
            choices=tuple(
                Choice(index=finish.choice, parts=self.parts(finish.choice), finish=finish)
                for finish in self._finished.finishes
            ),
            usage=self._finished.usage,
            extra=self._started.extra,
            end_extra=self._finished.extra,
        )


def fold(events: Iterable[Event]) -> Response:
    """Fold a whole sequence of events into a response.

    Raises the error of a `Failed` event, and `ProtocolBroken` where the sequence has no end.
    """
    folding = Fold()
    for event in events:
        folding.feed(event)
    return folding.response()


def unfold(response: Response) -> tuple[Event, ...]:
    """Return the shortest sequence of events that folds into this response: each part whole in its start."""
    events: list[Event] = [Started(id=response.id, model=response.model, created_at=response.created_at, extra=response.extra)]
    for choice in response.choices:
        for index, part in enumerate(choice.parts):
            events.append(PartStart(choice=choice.index, index=index, part=part))
            events.append(PartEnd(choice=choice.index, index=index))
    events.append(
        Finished(finishes=tuple(choice.finish for choice in response.choices), usage=response.usage, extra=response.end_extra)
    )
    return tuple(events)


# --- Plans and results -----------------------------------------------------------------------------------------------


class Target(Value, frozen=True, kw_only=True, order=True):
    """A model at a provider, as the config names them."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class Considered(Value, frozen=True, kw_only=True):
    """Another reading of a spec, or a target of it, that was not taken, and why."""

    name: str
    why: str


class Reasons(Value, frozen=True, kw_only=True):
    """Why a spec became the plan that it became; the same object from `explain` as in a result."""

    spec: str | None
    """What the caller wrote."""
    rule: str
    """The rule that fired: `target`, `alias`, `tier`, `bare_tier`, `auto_tier`, `bare_model`, `experiment`, `user_default`,
    `default_tier`."""
    steps: tuple[str, ...]
    """What happened, one sentence a step."""
    strategy: str
    targets: tuple[Target, ...]
    """The targets that may be asked, in order."""
    skipped: tuple[Considered, ...] = ()
    """Targets of the plan that cannot be asked, and why."""
    considered: tuple[Considered, ...] = ()
    """What else the spec could have meant, and why it does not."""

    def __str__(self) -> str:
        lines = [f"{self.spec or '(no spec)'} -> {self.strategy} over {', '.join(map(str, self.targets)) or 'no target'}"]
        lines += [f"  {step}" for step in self.steps]
        lines += [f"  skipped {each.name}: {each.why}" for each in self.skipped]
        lines += [f"  not {each.name}: {each.why}" for each in self.considered]
        return "\n".join(lines)


Outcome = Literal["won", "answered", "lost", "failed", "cancelled", "rejected"]
"""How an attempt ended: `won` delivered the answer; `answered` was whole but not chosen (consensus); `lost` was overtaken and
cancelled; `failed` met an error; `cancelled` ended as the caller left; `rejected` was refused by a limit before it was sent."""


class Attempt(Value, frozen=True, kw_only=True):
    """One upstream call of a request."""

    number: int
    """Counts the attempts of a request from 1, in the order of their launch."""
    target: Target
    outcome: Outcome
    role: str = "answer"
    """`answer`, `escalation` or `judge`."""
    started_s: float = 0.0
    """Seconds from the request's beginning to the launch."""
    first_content_s: float | None = None
    """Seconds from the launch to the first content."""
    duration_s: float = 0.0
    usage: Usage | None = None
    estimated: bool = False
    """Whether `usage` is Podium's estimate, as the provider gave none."""
    cost_usd: Decimal | None = None
    """What it cost; None is unknown, never free."""
    error_code: str | None = None
    error: str | None = None
    upstream_id: str | None = None
    """The provider's id of this answer."""
    losses: tuple[Loss, ...] = ()


class Answer(Value, frozen=True, kw_only=True):
    """One answer of a consensus, as the judge read it."""

    target: Target
    text: str
    key: str
    """The normalised form that was compared."""


class Cluster(Value, frozen=True, kw_only=True):
    """Answers that the judge holds to be the same."""

    key: str
    votes: int
    targets: tuple[Target, ...]


class Consensus(Value, frozen=True, kw_only=True):
    """What the judges found (SCIENCE: agreement is no confidence, shared errors survive votes)."""

    judge: str
    agreement: float
    """Votes of the top cluster over `n_configured`."""
    entropy_agreement: float
    """1 - H/ln n over the n that answered; 0 where n < 2."""
    clusters: tuple[Cluster, ...]
    dissent: tuple[Answer, ...]
    n_configured: int
    n_ok: int
    errors: tuple[Considered, ...] = ()
    """Targets that gave no answer, and why."""
    quorum: int = 0
    quorum_met: bool = False
    stopped_early: bool = False
    sufficient: bool = True
    """Whether at least `min_answers` came."""
    escalated_to: Target | None = None


class Result(Value, frozen=True, kw_only=True):
    """What a call gives: the answer, who gave it, and why."""

    request_id: str
    response: Response
    target: Target
    reasons: Reasons
    attempts: tuple[Attempt, ...]
    losses: tuple[Loss, ...] = ()
    consensus: Consensus | None = None
    cost_usd: Decimal | None = None
    """What it cost, where that is known; None is unknown, never free."""
    duration_s: float = 0.0
    metadata: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The answer's text."""
        return self.response.text

    @property
    def reasoning(self) -> str:
        """What the model thought, as far as the provider shows it."""
        return self.response.reasoning

    @property
    def parts(self) -> tuple[Part, ...]:
        """The answer's parts."""
        return self.response.parts

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools that the model wants called."""
        return self.response.tool_calls

    @property
    def finish_reason(self) -> FinishReason:
        """Why the answer ended."""
        return self.response.finish_reason

    @property
    def usage(self) -> Usage | None:
        """The winner's tokens; those of every attempt are in `attempts`."""
        return self.response.usage

    @property
    def message(self) -> Message:
        """The answer as a message, to be appended to the conversation."""
        return Message(role="assistant", parts=self.response.parts)
