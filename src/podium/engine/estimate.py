"""The most that a request can use: a bound on the tokens that go in and come out of each leg, and on what they cost.

Theory. Tokenizers of language models work on bytes: a token stands for one byte at least (byte-level BPE, and SentencePiece
with byte fallback; special tokens come from the template, not from the text). So a prompt has at most as many tokens as its
text has UTF-8 bytes, plus what the provider's template adds. That costs a few microseconds and holds for every model, at three
to four times the true count. Only where it would refuse a request, and the model's own tokenizer is at hand (OpenAI's, in the
package `bpe-openai`, which ships its vocabulary), the text is counted (`exact`).

Rules.
- What templates add is allowed for generously: `PER_REQUEST`, `PER_MESSAGE`, `PER_PART`, `PER_TOOL`, `WITH_TOOLS`. Tools,
  schemas and arguments count as the bytes of their JSON, which is longer than what providers render from it.
- A model that sets its text in another form before it is split (NFKC) may read more bytes than were sent; none of the
  catalog's is known to.
- An image counts as the most that its dialect's providers charge for one. Sound, video, documents that are not text, files
  that were uploaded before, and tools that the provider runs have no bound: such a leg says why.
- Output is what the caller allows, else the most that the model gives, else `UNKNOWN_OUTPUT`, which then must be sent.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec

from podium.catalog.price_rates import nothing
from podium.catalog.pricing import Found, PriceBook
from podium.catalog.profiles import profile
from podium.engine.charges import context_of
from podium.engine.prices.book import find_target
from podium.routing.snapshot import Plan, Provider, Snapshot
from podium.routing.spending import LEAST_OUTPUT, Cost, Estimate, Leg, strategy_targets
from podium.types import Media, Opaque, Part, Profile, Reasoning, Refusal, Request, Target, Text, Thinking, ToolCall, ToolResult

PER_REQUEST = 512
"""What a provider may say to the model on its own (a few dozen tokens; more where the model is told how to reason)."""
PER_MESSAGE = 16
"""Role and separators; OpenAI counts 3 to 4 (https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken)."""
PER_PART = 16
PER_TOOL = 64
WITH_TOOLS = 2048
"""Anthropic's system prompt for tools has 159 to 530 tokens for its first models, a few hundred more for later ones
(https://docs.anthropic.com/en/docs/tool-use-pricing-and-tokens)."""
UNKNOWN_OUTPUT = 8192
"""`max_tokens` for a model of which nobody said how much it can write, where money is limited."""
IMAGE_TOKENS = {"anthropic": 8_192}
"""The most that one image may count, by dialect: Anthropic scales images down to 1,600 tokens, later models to about 4,800
(https://platform.claude.com/docs/en/build-with-claude/vision)."""
MOST_IMAGE_TOKENS = 50_000
"""Anywhere else: gpt-4o-mini counts 2,833 and 5,667 for each of at most 8 tiles, which is the most of all
(https://platform.openai.com/docs/guides/images-vision#calculating-costs)."""
_OUTSIDE = frozenset({"url", "uri", "file_id", "file_uri", "fileUri", "image_url", "file_url", "file_data", "container"})
"""Keys under which a part refers to something that is not in the request."""
_COSTLY = frozenset({"web_search_options", "plugins", "mcp_servers", "container", "prediction"})
"""Settings beyond the typed ones by which a request can cost more than its tokens."""
_DEAR = frozenset({"priority", "fast"})
"""Services, by tier or speed, that cost more than the usual one."""
_MANY = 10**6
_ENCODINGS = (
    ("o200k_base", ("gpt-5", "gpt-5-*", "gpt-4.5-*", "gpt-4.1*", "gpt-4o*", "chatgpt-4o-*", "o1*", "o3*", "o4-mini*")),
    ("cl100k_base", ("gpt-4", "gpt-4-*", "gpt-3.5-turbo*", "gpt-35-turbo*")),
)


class Measured(msgspec.Struct, frozen=True, gc=False):
    """What a request holds, counted once for all its legs."""

    text_bytes: int
    added: int
    """Tokens allowed for templates."""
    images: int
    unbounded: str | None
    """What in it has no bound."""

    def input_tokens(self, dialect: str, text_tokens: int | None = None) -> int:
        """The most tokens that go in, with so many for the text (None: one a byte)."""
        text = self.text_bytes if text_tokens is None else text_tokens
        return text + self.added + self.images * IMAGE_TOKENS.get(dialect, MOST_IMAGE_TOKENS)


_profile = lru_cache(maxsize=4096)(profile)
"""A model's profile; the table is long, and an estimate is made for each request."""


class _Highest:
    """The most that a model's price makes of so many tokens, in pico-USD, rounded up."""

    __slots__ = ("_at", "_context", "_found")

    def __init__(self, found: Found, at: float | None, context: Mapping[str, str] | None) -> None:
        self._found = found
        self._at = at
        self._context = context

    def of_many(self) -> int | None:
        """What very many tokens cost: None where the price does not say, 0 where they are free."""
        return self._found.price.highest_pico(_MANY, _MANY, self._at, self._context)

    def __call__(self, input_tokens: int, output_tokens: int) -> int:
        cost = self._found.price.highest_pico(input_tokens, output_tokens, self._at, self._context)
        if cost is None:
            raise ValueError(f"{self._found.matched_name} has a price that does not say what its tokens cost")
        return cost


def estimate(
    request: Request,
    plan: Plan,
    snapshot: Snapshot,
    book: PriceBook,
    *,
    measured: Measured | None = None,
    at: float | None = None,
    exact: bool = False,
) -> Estimate:
    """Return the most that a request can use, over all legs of its plan.

    `measured` is what `measure` finds in the request, where that is known. `at` is the time in epoch seconds, for prices that
    depend on it. `exact` counts with the models' own tokenizers, where they are at hand: that takes milliseconds, the first
    time a second, and belongs on a thread (see `can_tighten`).
    """
    measured = measured or measure(request)
    providers, strategy = snapshot.providers, plan.strategy
    legs = []
    explicit = False
    for target in strategy_targets(strategy.name, plan.targets, strategy.escalate_to):
        leg, must_say = _leg(request, measured, target, providers[target.provider], book, at, exact)
        legs.append(leg)
        explicit = explicit or must_say
    return Estimate(
        legs=tuple(legs),
        asked_output=request.sampling.max_tokens,
        least_output=LEAST_OUTPUT if request.thinking is None else _least_output(request.thinking),
        explicit=explicit,
    )


def usual_pico(request: Request, measured: Measured, facts: Profile, found: Found, dialect: str) -> int | None:
    """Return the most that one attempt of a usual request can cost, in pico-USD; None for any other: look closer at it.

    Usual is a request that asks for nothing by which its price varies, and whose input and output have a bound of their own.
    """
    sampling, steady = request.sampling, found.price.steady
    output = facts.max_output if sampling.max_tokens is None else sampling.max_tokens
    if steady is None or not output or measured.unbounded is not None or sampling.service_tier or request.extra:
        return None
    read = measured.input_tokens(dialect) if measured.images else measured.text_bytes + measured.added
    return steady(read, output * max(1, sampling.n) if sampling.n else output)


def highest_pico(request: Request, measured: Measured, facts: Profile, found: Found, dialect: str, at: float) -> int | None:
    """Return the most that one attempt of any request can cost, in pico-USD; None where that has no bound."""
    if measured.unbounded is not None:
        return None
    sampling = request.sampling
    output = sampling.max_tokens if sampling.max_tokens is not None else facts.max_output or UNKNOWN_OUTPUT
    context = context_of(request, dialect)
    return found.price.highest_pico(measured.input_tokens(dialect), output * max(1, sampling.n or 1), at, context)


def _leg(
    request: Request,
    measured: Measured,
    target: Target,
    provider: Provider,
    book: PriceBook,
    at: float | None,
    exact: bool,
) -> tuple[Leg, bool]:
    """A target's bound, and whether `max_tokens` must be sent for it to hold."""
    sampling = request.sampling
    entry = provider.models.get(target.model)
    upstream = entry.upstream if entry else target.model
    facts = _profile(provider.kind, upstream)
    text_tokens = measured.text_bytes
    if exact and (name := _encoding_name(provider.kind, upstream)):
        text_tokens = min(text_tokens, count(request, name))
    cost, why = _price(target, provider, request, measured, book, at)
    leg = Leg(
        target=target,
        input_tokens=measured.input_tokens(provider.dialect, text_tokens),
        max_output=sampling.max_tokens if sampling.max_tokens is not None else facts.max_output or UNKNOWN_OUTPUT,
        answers=max(1, sampling.n or 1),
        cost=cost,
        why=why,
        clampable="max_tokens" not in facts.refuses,
    )
    return leg, sampling.max_tokens is None and facts.max_output is None and cost is not None and cost is not nothing


def _price(
    target: Target, provider: Provider, request: Request, measured: Measured, book: PriceBook, at: float | None
) -> tuple[Cost | None, str | None]:
    """What a leg costs at most; or None, and why nobody knows."""
    found = find_target(book, provider, target.model)
    if found is None:
        return None, (
            f"it has no price. Give it one in the config, in USD per million tokens: `prices: {{{target}: {{input: 1.25, "
            f"output: 10}}}}`; or name a model whose price holds: `priced_as: openai/gpt-4o` for {target.model} under "
            f"`providers.{provider.name}.models`."
        )
    context = context_of(request, provider.dialect)
    cost: Cost | None = found.price.steady if context is None else None
    if cost is None:
        cost = _Highest(found, at, context)
        of_many = cost.of_many()
        if of_many is None:
            return None, f"its price says nothing of some of its tokens. Complete it under `prices.{target}` in the config."
        if not of_many:
            cost = nothing
    if cost is nothing:
        return cost, None
    if measured.unbounded is not None:
        return None, f"{measured.unbounded} can cost anything."
    for key, value in (context or {}).items():
        if value in _DEAR and not any(variant.when.get(key) == value for variant in found.price.row.variants):
            return None, f"its price does not say what the {key.replace('_', ' ')} {value} costs."
    return cost, None


def _least_output(thinking: Thinking) -> int:
    """What an answer needs: a model that is told how much to reason must be allowed more than that."""
    return (thinking.budget_tokens or 0) + LEAST_OUTPUT


# --- counting -----------------------------------------------------------------------------------------------------------


def measure(request: Request) -> Measured:
    """Count a request's bytes of text, images, and what its template may add."""
    if request.tools or request.extra or request.output is not None:
        return _measure_all(request)
    parts: list[Part] = [*request.system]
    for message in request.messages:
        if message.extra:
            return _measure_all(request)
        parts += message.parts
    size = 0
    for part in parts:
        if type(part) is not Text or part.extra:
            return _measure_all(request)
        text = part.text
        size += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return Measured(size, PER_REQUEST + len(request.messages) * PER_MESSAGE + len(parts) * PER_PART, 0, None)


def _measure_all(request: Request) -> Measured:
    """`measure` of a request that is more than text, as most are not."""
    sums = _Sums()
    sums.take(request)
    return Measured(sums.bytes, sums.added, sums.images, sums.unbounded)


class _Sums:
    """Adds up what a request holds."""

    __slots__ = ("added", "bytes", "images", "texts", "unbounded")

    def __init__(self, *, keep: bool = False) -> None:
        self.bytes = 0
        self.added = PER_REQUEST
        self.images = 0
        self.unbounded: str | None = None
        self.texts: list[list[str]] | None = [] if keep else None
        """Where they are kept: a list for each message, so that its parts can also be counted as one text."""

    def take(self, request: Request) -> None:
        """Add a whole request."""
        self._begin()
        for instruction in request.system:
            self._part(instruction)
        if request.extra:
            self._extra(request.extra)
        for message in request.messages:
            self._begin()
            self.added += PER_MESSAGE
            for part in message.parts:
                self._part(part)
            if message.extra:
                self._json(message.extra)
        if request.tools:
            self._begin()
            self.added += WITH_TOOLS
            for tool in request.tools:
                self.added += PER_TOOL
                self._json(tool)
                if isinstance(tool, Opaque):
                    self.unbounded = self.unbounded or "a tool that the provider runs itself"
        if request.output is not None:
            self._begin()
            self._json(request.output)

    def _begin(self) -> None:
        if self.texts is not None:
            self.texts.append([])

    def _text(self, text: str) -> None:
        self.bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if self.texts is not None:
            self.texts[-1].append(text)

    def _json(self, value: Any) -> bytes:
        written = msgspec.json.encode(value)
        self.bytes += len(written)
        if self.texts is not None:
            self.texts[-1].append(written.decode("utf-8"))
        return written

    def _extra(self, extra: Mapping[str, Mapping[str, Any]]) -> None:
        self._json(extra)
        for said in extra.values():
            for name in _COSTLY & said.keys():
                self.unbounded = self.unbounded or f"`{name}`"

    def _part(self, part: Part) -> None:
        self.added += PER_PART
        match part:
            case Text() | Reasoning() | Refusal():
                self._text(part.text)
            case ToolCall():
                self._text(part.name)
                self._text(part.id)
                self._text(part.arguments)
            case ToolResult():
                self._text(part.call_id)
                for each in part.parts:
                    self._part(each)
            case Media():
                self._media(part)
            case Opaque():
                if b"image" in self._json(part.data):
                    self.images += 1
                if _refers(part.data):
                    self.unbounded = self.unbounded or "content that is not in the request"
        if part.extra:
            self._json(part.extra)

    def _media(self, media: Media) -> None:
        if media.name is not None:
            self._text(media.name)
        if media.kind == "image":
            self.images += 1
        elif media.text is not None:
            self._text(media.text)
        else:
            self.unbounded = self.unbounded or f"a part of the kind {media.kind}"


def _refers(value: Any) -> bool:
    """Whether plain data names something outside itself."""
    if isinstance(value, dict):
        return any(key in _OUTSIDE or _refers(each) for key, each in value.items())
    return isinstance(value, list) and any(_refers(each) for each in value)


# --- tokenizers ---------------------------------------------------------------------------------------------------------


def can_tighten(plan: Plan, snapshot: Snapshot) -> bool:
    """Whether `exact` would give any leg of this plan a lower bound: its tokenizer is known, and installed."""
    for target in strategy_targets(plan.strategy.name, plan.targets, plan.strategy.escalate_to):
        provider = snapshot.providers[target.provider]
        entry = provider.models.get(target.model)
        if _encoding_name(provider.kind, entry.upstream if entry else target.model):
            return _has_tokenizer()
    return False


@cache
def _has_tokenizer() -> bool:
    return find_spec("bpe_openai") is not None


def _encoding_name(kind: str, upstream: str) -> str | None:
    """The encoding of a model's tokenizer; None where it is not stated, or no tokenizer is installed."""
    return _stated_encoding(kind, upstream) if _has_tokenizer() else None


@lru_cache(maxsize=4096)
def _stated_encoding(kind: str, upstream: str) -> str | None:
    """The encoding that https://github.com/openai/tiktoken states for a model."""
    if kind not in ("openai", "azure"):
        return None
    for name, globs in _ENCODINGS:
        if any(fnmatchcase(upstream, glob) for glob in globs):
            return name
    return None


@cache
def _encoder(name: str) -> Callable[[str], Sequence[int]]:
    """Load an encoding: about a second and 150 MB for the first."""
    with warnings.catch_warnings():  # it reads its data by a function that Python 3.11 and 3.12 call deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        encode: Callable[[str], Sequence[int]] = import_module("bpe_openai").get_encoding(name).encode_ordinary
    return encode


def count(request: Request, encoding: str) -> int:
    """Return the most tokens that a request's texts are under an encoding.

    Texts of one message may reach the model as one text or apart, so the larger count is taken. Raises `ImportError` where
    the package `bpe-openai` is not installed.
    """
    sums = _Sums(keep=True)
    sums.take(request)
    encode = _encoder(encoding)
    total = 0
    for texts in sums.texts or ():
        apart = sum(len(encode(text)) for text in texts)
        total += apart if len(texts) < 2 else max(apart, len(encode("".join(texts))))
    return total
