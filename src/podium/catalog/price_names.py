"""Names of models in price data, and what is tried when a name is unknown.

Theory. Price data names a model once; callers name it with dates, `-latest`, prefixes of whoever resells it. The data's own
spellings (`match`) come first and are not normalisation. What no data knows is normalised by the steps below, one after another
and together, the fewest steps first; the result says which steps were taken, for a price found so is a guess, if a good one.

The steps:
- *prefix*: `models/` at Gemini, `accounts/<whose>/models/` at Fireworks, the provider's own name (`openai/gpt-4o` at OpenAI).
- *the vendor's price*: `anthropic/claude-x`, where OpenRouter's data does not know it, costs there what Anthropic asks
  (OpenRouter passes prices on).
- *routing suffix*: OpenRouter's `:nitro`, `:floor`, `:online`, `:exacto`, `:beta`, `:extended`, `:thinking`. Never `:free`.
- *date*: `-2024-08-06`, `-20240806`, `@20240806`, `-0806`, `-08-06`; a compact date is first written with dashes.
- *latest*: `-latest`, `:latest`.
- *size*: context (`-32k`, `-128k`, `-1m`, `[1m]`) and number format (`-fp8`, `-bf16`, `-int4`, `-awq`, `-gptq`). A number of
  parameters is never taken off, for it names another model: `llama-3.1-8b` is not `llama-3.1-70b`; only Ollama's way of
  writing it (`llama3.3:70b`) is rewritten (`llama3.3-70b`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

LOCAL_KINDS = frozenset({"local", "vllm"})
"""Kinds that run on the user's own machines: they cost nothing a token."""

KINDS = {"google": "gemini", "x-ai": "xai"}
"""What price data calls a provider, where Podium's kind has another name."""

VENDORS = {"x-ai": "xai", "google": "gemini", "mistralai": "mistral", "z-ai": "zai"}
"""OpenRouter's prefixes, where the vendor's kind has another name."""


def kind_of(provider: str) -> str:
    """Return Podium's name for a provider of price data."""
    return KINDS.get(provider, provider)


def split(name: str) -> tuple[str, str]:
    """Split `provider/model` at the first slash, and name the provider as Podium does."""
    provider, _, model = name.partition("/")
    return kind_of(provider), model


class Guess(NamedTuple):
    """A name to try: whose, which, and the steps that led to it."""

    kind: str
    model: str
    steps: str


_ROUTING = re.compile(r":(nitro|floor|online|exacto|beta|extended|thinking)$")
_COMPACT = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=[-:]|$)")
_DATES = (
    re.compile(r"[-@](19|20)\d{2}-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?=[-:]|$)"),
    re.compile(r"-(preview|exp)-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"),
    re.compile(r"-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"),
    re.compile(r"-(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$"),
    re.compile(r"-2[0-9](0[1-9]|1[0-2])$"),
)
_LATEST = re.compile(r"[-:]latest$")
_SIZE = re.compile(r"(-\d+(k|m)|\[\d+(k|m)\]|-(fp|bf)\d{1,2}|-int\d|-awq|-gptq)$")
_PARAMETERS = re.compile(r":(\d+(\.\d+)?[bm](-[a-z0-9_]+)*)$")
_GEMINI = re.compile(r"^models/")
_FIREWORKS = re.compile(r"^accounts/[^/]+/models/")


def _shorter(kind: str, model: str) -> Iterator[Guess]:
    """Every name that one step makes of a name."""
    if model.startswith(f"{kind}/"):
        yield Guess(kind, model[len(kind) + 1 :], "prefix")
    for pattern in (_GEMINI, _FIREWORKS):
        if found := pattern.search(model):
            yield Guess(kind, model[found.end() :], "prefix")
    if found := _ROUTING.search(model):
        yield Guess(kind, model[: found.start()], "routing suffix")
    if (dashed := _COMPACT.sub(r"-\1-\2-\3", model)) != model:
        yield Guess(kind, dashed, "date")
    for pattern in _DATES:
        if found := pattern.search(model):
            yield Guess(kind, model[: found.start()] + model[found.end() :], "date")
            break
    if found := _LATEST.search(model):
        yield Guess(kind, model[: found.start()], "latest")
    if found := _SIZE.search(model):
        yield Guess(kind, model[: found.start()], "size")
    if found := _PARAMETERS.search(model):
        yield Guess(kind, f"{model[: found.start()]}-{found[1]}", "size")


def guesses(kind: str, model: str) -> list[Guess]:
    """Return the names to try for an unknown one, those with the fewest steps first; the name itself is not among them.

    At OpenRouter each name is also tried at the vendor that its prefix names, after all of OpenRouter's own.
    """
    start = Guess(kind, model.lower(), "")
    found, seen = [start], {start.model}
    for known in found:
        for guess in _shorter(kind, known.model):
            if guess.model and guess.model not in seen and not known.model.endswith(":free"):
                seen.add(guess.model)
                steps = guess.steps if not known.steps else f"{known.steps}, {guess.steps}"
                found.append(Guess(kind, guess.model, steps))
    if kind == "openrouter":
        found += [there for known in tuple(found) if (there := _at_vendor(known)) is not None]
    return found[1:]


def _at_vendor(known: Guess) -> Guess | None:
    vendor, slash, model = known.model.partition("/")
    if not slash or not model or model.endswith(":free"):
        return None
    steps = "the vendor's price" if not known.steps else f"{known.steps}, the vendor's price"
    return Guess(VENDORS.get(vendor, vendor), model, steps)
