r"""What makes two answers the same: the judges `exact` and `json`, and what `auto` takes.

Theory. A judge turns an answer into a reading; answers with the same reading vote for the same thing. What cannot be read does
not vote: a failure may never look like agreement. Judges are functions of the answer alone, so that neither the order of
arrival nor the other answers change what one says. Majority over answers so read is self-consistency (arXiv 2203.11171).

Rules.
- `exact` compares texts after NFKC, case folding, one space for any white space, and one form for each number (English
  notation): `1,000.0` is `1000`. Where the whole answer is a number, with or without a unit sign, `1.50` is `1.5` too; inside
  a longer text it is not (`3.10` may be a version). A short answer (64 characters) loses its trailing punctuation. With a
  pattern, the answer is its first group, else its whole match; a text that it does not match does not vote.
- `json` takes off a Markdown fence, parses, holds the document to a schema, and compares canonical JSON. With `fields`, only
  these vote (a dot goes into nested objects), and numbers within a field's tolerance are the same.
- An answer with tool calls is its calls: the multiset of (name, canonical arguments). Ids do not count, nor does text beside
  the calls.
- A refusal, an answer that a filter ended and an empty one do not vote. One that was cut off by its length votes with what it
  has, if that can be read: for `json` it hardly ever can.
- `auto` is `json` where the request asked for structured output, where the strategy names a schema or fields, and where all
  texts are JSON objects; `exact` otherwise, and always with a pattern.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from podium.errors import ConfigError
from podium.routing.strategies.canonical import dump_canonical
from podium.routing.strategies.schemas import find_fault
from podium.types import Refusal, Response

JudgeName = Literal["exact", "json"]

SHORT = 64
"""Characters up to which an answer is short: its trailing punctuation means nothing."""

_NUMBER = r"[-+−]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?:e[-+]?[0-9]{1,3})?"
_WHOLE_NUMBER = re.compile(rf"(?P<before>[^\w.+−-]*)(?P<number>{_NUMBER})(?P<after>[^\w.]*)")
_INNER_NUMBER = re.compile(r"(?<![\w.])(?<![0-9],)(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?!\w|[.,]\w)")
_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_LANGUAGE = re.compile(r"\A[\w+-]*(?=[\s{\[\"])")


class NoVote(ValueError):
    """An answer that the judge cannot read; the words say why, as a clause."""


class Reading(NamedTuple):
    """An answer as a judge read it: those with the same `kind` and `key` are the same answer."""

    kind: Literal["text", "json", "tool_calls"]
    key: str
    document: Any = None
    """The parsed document, for `json`."""
    fields: tuple[Any, ...] | None = None
    """The values that vote, where only some fields do."""


class Rules(NamedTuple):
    """What a strategy says about reading answers; `pattern` is for `exact`, the others for `json`."""

    pattern: re.Pattern[str] | None = None
    fields: Mapping[str, float] | None = None
    schema: Mapping[str, Any] | None = None

    @property
    def tolerant(self) -> bool:
        """Whether some field has a tolerance, so that being the same is no longer being equal."""
        return self.fields is not None and any(tolerance > 0.0 for tolerance in self.fields.values())


NO_RULES = Rules()
"""Whole texts, whole documents, no schema."""


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a strategy's `answer_pattern`.

    Raises `ConfigError` where it is no regular expression.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"The answer pattern {pattern!r} is no regular expression: {error}.",
            hint="Use Python's syntax; the first group, if there is one, is the answer: `answer: *(.+)`.",
        ) from None


def read(judge: JudgeName, response: Response, rules: Rules = NO_RULES) -> Reading:
    """Read an answer.

    Raises `NoVote` where it cannot be read.
    """
    if response.finish_reason == "content_filter" or any(isinstance(part, Refusal) for part in response.parts):
        raise NoVote("it refused to answer")
    if response.tool_calls:
        return _read_tool_calls(response)
    if not response.text.strip():
        raise NoVote("its answer was empty")
    if judge == "exact":
        return Reading("text", _read_text(response.text, rules.pattern))
    try:
        return _read_document(response.text, rules)
    except NoVote as error:
        cut = " (it was cut off by its length)" if response.finish_reason == "length" else ""
        raise NoVote(f"{error}{cut}") from None


def same(one: Reading, other: Reading, rules: Rules) -> bool:
    """Say whether two readings are the same answer."""
    if one.fields is None or other.fields is None or rules.fields is None:
        return (one.kind, one.key) == (other.kind, other.key)
    pairs = zip(one.fields, other.fields, rules.fields.values(), strict=True)
    return all(_close(mine, yours, tolerance) for mine, yours, tolerance in pairs)


def normalise(text: str) -> str:
    """Return the form of a text that the judge `exact` compares."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    plain = " ".join(folded.split())
    if len(plain) <= SHORT:
        # What is nothing but punctuation stays what it is.
        plain = plain.rstrip(".,;:!?。 ") or plain
    if whole := _WHOLE_NUMBER.fullmatch(plain):
        return whole["before"] + _plain_number(whole["number"]) + whole["after"]
    return _INNER_NUMBER.sub(_plain_inner, plain)


def load_document(text: str) -> Any:
    """Parse the JSON document that an answer is: the whole text, or its one Markdown code block.

    Raises `NoVote` where there is none.
    """
    whole = text.strip().removeprefix("\ufeff").strip()
    candidates = [whole]
    if whole.startswith("```") and whole.endswith("```") and len(whole) > 6:
        # Taken by its ends: an answer that is one block may itself contain fences, inside of strings.
        candidates.append(_LANGUAGE.sub("", whole[3:-3], count=1))
    else:
        blocks = _FENCE.findall(whole)
        candidates += blocks if len(blocks) == 1 else ()
    for candidate in candidates:
        try:
            return msgspec.json.decode(candidate)
        except (ValueError, RecursionError):
            continue
    raise NoVote("its answer is not JSON")


def _read_text(text: str, pattern: re.Pattern[str] | None) -> str:
    if pattern is None:
        return normalise(text)
    found = pattern.search(text)
    if found is None:
        raise NoVote("its answer does not match the pattern")
    # A first group that took no part in the match is no answer; the whole match is.
    answer = found[1] if pattern.groups and found[1] is not None else found[0]
    return normalise(answer)


def _plain_inner(found: re.Match[str]) -> str:
    """Return a number in a text without its commas, and without a fraction that is zero."""
    whole, _, fraction = found[0].replace(",", "").partition(".")
    return f"{whole}.{fraction}" if fraction.strip("0") else whole


def _plain_number(number: str) -> str:
    """Return a number without what does not change its value; one with an exponent only loses its commas and its plus."""
    unsigned = number.lstrip("+-−").replace(",", "")
    sign = "-" if number[0] in "-−" else ""
    if "e" in unsigned:
        return sign + unsigned
    whole, _, fraction = unsigned.partition(".")
    fraction = fraction.rstrip("0")
    plain = (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")
    return plain if plain == "0" else sign + plain


def _read_document(text: str, rules: Rules) -> Reading:
    document = load_document(text)
    try:
        if rules.schema is not None and (fault := find_fault(document, rules.schema)):
            raise NoVote(f"its answer does not satisfy the schema: {fault}")
        if rules.fields is None:
            return Reading("json", dump_canonical(document), document)
        values = tuple(_field(document, name) for name in rules.fields)
        return Reading("json", dump_canonical(dict(zip(rules.fields, values, strict=True))), document, values)
    except NoVote:
        raise
    except (ValueError, RecursionError):
        raise NoVote("its answer is JSON without a canonical form") from None


def _field(document: Any, name: str) -> Any:
    if isinstance(document, dict) and name in document:
        return document[name]
    found = document
    for step in name.split("."):
        if not isinstance(found, dict) or step not in found:
            raise NoVote(f"its answer lacks the field `{name}`")
        found = found[step]
    return found


def _read_tool_calls(response: Response) -> Reading:
    calls = []
    for call in response.tool_calls:
        try:
            arguments = msgspec.json.decode(call.arguments) if call.arguments.strip() else {}
            calls.append(dump_canonical([call.name, arguments]))
        except (ValueError, RecursionError):
            raise NoVote(f"it called {call.name} with arguments that are not JSON") from None
    return Reading("tool_calls", f"[{','.join(sorted(calls))}]")


def _close(one: Any, other: Any, tolerance: float) -> bool:
    """Say whether two values are within a tolerance; what are not two numbers must be equal."""
    for value in (one, other):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return dump_canonical(one) == dump_canonical(other)
    # 1.1 - 1.0 is a little more than 0.1: doubles must not decide a vote.
    return bool(abs(one - other) <= tolerance + 1e-12 * max(abs(one), abs(other)))
