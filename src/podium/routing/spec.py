"""What a caller writes: the grammar of specs.

Theory. A spec is one string that says what shall answer: a model at a provider, a tier, a user's experiment, or a name that
the config explains. Reading it needs no config: the form alone decides which of the five kinds it is. What its names mean is
the business of `resolve`.

    tier:NAME                 a tier
    user:ID, user:ID:NAME     a user's default experiment, or a named one
    PROVIDER/MODEL            a model at a provider; split at the first `/`, the rest verbatim
    NAME                      an alias, a tier or a model, in this order
    None                      nothing: the user's default experiment, or the default tier

Rules.
- What stands behind `tier:`, behind the second `:` of `user:` and behind the first `/` is verbatim: it may hold `/` and `:`
  (`local/llama3.3:70b`, `openrouter/google/gemini-2.0-flash`, `vllm//models/llama`). A user's id cannot hold a `:`.
- No part is empty, begins or ends with a space, or holds a character that cannot be printed.
- An empty string is an error, not nothing: it is more often a variable that was lost than a wish for the default.
- `str(parse(text)) == text` for every text that is a spec.
"""

from __future__ import annotations

from podium.errors import SpecError
from podium.types import Target, Value

LONGEST_SPEC = 512
"""Characters; no provider's model name comes near it."""

_FORMS = "`provider/model`, `tier:name`, `user:id`, `user:id:experiment`, or the name of an alias, a tier or a model"


class TierSpec(Value, frozen=True, kw_only=True):
    """`tier:fast`."""

    tier: str

    def __str__(self) -> str:
        return f"tier:{self.tier}"


class UserSpec(Value, frozen=True, kw_only=True):
    """`user:jane:local_first`, or `user:jane` for her default experiment."""

    user_id: str
    experiment: str | None = None

    def __str__(self) -> str:
        return f"user:{self.user_id}" if self.experiment is None else f"user:{self.user_id}:{self.experiment}"


class TargetSpec(Value, frozen=True, kw_only=True):
    """`openai/gpt-4o`; or, where the first part is no provider, a model name that holds a slash."""

    provider: str
    model: str

    @property
    def target(self) -> Target:
        """The target that this spec is if its first part is a provider."""
        return Target(provider=self.provider, model=self.model)

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class NameSpec(Value, frozen=True, kw_only=True):
    """A bare name: an alias, a tier or a model."""

    name: str

    def __str__(self) -> str:
        return self.name


Spec = TierSpec | UserSpec | TargetSpec | NameSpec


def show(text: str) -> str:
    """Return a text as a message or a log may show it: escaped where it cannot be printed, and cut at 100 characters."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= 100 else f"{shown[:97]}..."


def quote(text: str) -> str:
    """Return a text as `show` does, in backticks."""
    return f"`{show(text)}`"


def parse(text: str | None) -> Spec | None:
    """Read a spec; None is nothing, and stays None.

    Raises `SpecError` (code `invalid_spec`, status 400) that says which part is wrong.
    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise _malformed(f"A spec of type {type(text).__name__} was given; it must be a string.")
    if not text:
        raise _malformed("The spec is an empty string.", hint=f"Leave it out for the default, or write {_FORMS}.")
    if len(text) > LONGEST_SPEC:
        raise _malformed(f"The spec {quote(text)} has {len(text)} characters; at most {LONGEST_SPEC} are allowed.")
    if text.startswith("tier:"):
        return TierSpec(tier=_part(text, text[5:], "tier's name behind `tier:`"))
    if text.startswith("user:"):
        user_id, colon, experiment = text[5:].partition(":")
        _part(text, user_id, "user's id behind `user:`")
        if not colon:
            return UserSpec(user_id=user_id)
        return UserSpec(user_id=user_id, experiment=_part(text, experiment, f"experiment's name behind `user:{user_id}:`"))
    provider, slash, model = text.partition("/")
    if slash:
        _part(text, provider, "provider before the first `/`")
        return TargetSpec(provider=provider, model=_part(text, model, "model behind the first `/`"))
    return NameSpec(name=_part(text, text, "name"))


def parse_experiment(text: str) -> str:
    """Read the value of `experiment=`, which obeys the rules of a spec's part.

    Raises `SpecError` (code `invalid_spec`, status 400).
    """
    fault = _fault(text) if len(text) <= LONGEST_SPEC else f"has {len(text)} characters; at most {LONGEST_SPEC} are allowed"
    if fault:
        hint = "Write the name of an experiment, or leave experiment= out."
        raise _malformed(f"The name in experiment={quote(text)} {fault}.", hint=hint, param="experiment")
    return text


def _part(text: str, part: str, what: str) -> str:
    fault = _fault(part)
    if fault:
        raise _malformed(f"In the spec {quote(text)} the {what} {fault}.")
    return part


def _fault(part: str) -> str | None:
    if not part:
        return "is missing"
    if not part.isprintable():
        return "holds a character that cannot be printed"
    return "begins or ends with a space" if part[0] == " " or part[-1] == " " else None


def _malformed(message: str, *, hint: str = f"Write {_FORMS}.", param: str = "model") -> SpecError:
    """Make the error for a text that is no spec, whatever the config."""
    return SpecError(message, hint=hint, code="invalid_spec", status=400, param=param)
