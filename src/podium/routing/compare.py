"""Two answers to one question, an old one and a new one: whether they are the same, how alike they are, and where they differ.

Theory. Whether two answers are the same is for the judges of a consensus to say (`strategies/judges.py`): a comparison is a
consensus of two. How alike two texts are is another matter, and only a figure for readers: the share of their characters
that stand in matching blocks (Ratcliff and Obershelp, `difflib`), after the normalisation of the judge `exact`.

Rules.
- A side that failed has no answer: the comparison is neither the same nor different (`same` is None). A refusal or an empty
  answer is no vote; beside an answer that can be read it is a difference, and two of them are not compared: a failure may
  never look like agreement.
- The blocks are of characters, and finding them takes the square of the length. So beyond `BY_CHARACTER` characters of both
  texts together it is the share of words that both have, whatever their order.
- A diff is by lines where both texts have several, else by words, in the notation of wdiff: `[-old-]`, `{+new+}`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, get_args

from podium.errors import RequestError
from podium.routing.snapshot import Strategy
from podium.routing.strategies.judges import normalise
from podium.routing.strategies.panel import Panel
from podium.types import FinishReason, Output, Response, Target, ToolCall, Value

BY_CHARACTER = 2_000
"""Characters of both texts up to which their similarity is measured by characters."""
_LINES = 4
"""Lines from which, in both texts, a diff is by lines."""
_MANY_WORDS = 1_000
"""Words of both texts from which `difflib` begins no match at the most frequent ones, to be fast."""

JudgeChoice = Literal["auto", "exact", "json"]
SideName = Literal["new", "old"]


class Side(Value, frozen=True, kw_only=True):
    """What one side of a comparison gave."""

    side: SideName
    spec: str | None
    """What was asked: a spec, or the name of a function; None: the default."""
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    target: str | None = None
    """Who answered (provider/model), where Podium asked."""
    finish_reason: FinishReason | None = None
    duration_s: float = 0.0
    input_tokens: int | None = None
    """Of all attempts; None: nobody counted."""
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    """Of all attempts; None is unknown, never free."""
    request_id: str | None = None
    """Under which it is in the ledger."""
    error_code: str | None = None
    error: str | None = None
    """Why it failed."""
    recorded: bool = False
    """Whether this is what was given some time ago, and nobody was asked now."""

    @property
    def ok(self) -> bool:
        """Whether it answered."""
        return self.error is None


class Comparison(Value, frozen=True, kw_only=True):
    """Two answers to one question, side by side."""

    same: bool | None
    """Whether they are the same by the judge; None where that cannot be said."""
    judge: str
    """`exact`, `json` or `tool_calls`; `none` where there was nothing to judge."""
    why: str
    similarity: float | None
    """0 to 1; None where a side failed."""
    diff: str
    """From old to new; empty where there is no difference in the texts."""
    new: Side
    old: Side


class Change(Value, frozen=True, kw_only=True):
    """A piece of a diff."""

    kind: Literal["both", "old", "new"]
    text: str


class _Judgement(Value, frozen=True, kw_only=True):
    """What the judge says."""

    same: bool | None = None
    judge: str
    why: str


def compare(
    new: tuple[Side, Response | None],
    old: tuple[Side, Response | None],
    *,
    judge: JudgeChoice = "auto",
    answer_pattern: str | None = None,
    fields: dict[str, float] | None = None,
    output: Output | None = None,
    detailed: bool = True,
) -> Comparison:
    """Compare what two sides gave; a side that failed has no response.

    `judge`, `answer_pattern` and `fields` are those of a consensus, `output` is the form that was asked for. Not
    `detailed`, the comparison is cheap: without a diff, and with a similarity by words, however short the texts. Raises
    `ConfigError` where the pattern is no regular expression.
    """
    (new_side, new_response), (old_side, old_response) = new, old
    rules = Strategy(name="consensus", judge=judge, answer_pattern=answer_pattern, fields=fields)
    if new_response is None or old_response is None:
        Panel((), rules)  # a wrong pattern is an error, whoever answered
        failed = " and ".join(
            f"{side.side} failed ({side.error_code})"
            for side, response in ((new_side, new_response), (old_side, old_response))
            if response is None
        )
        return Comparison(same=None, judge="none", why=failed, similarity=None, diff="", new=new_side, old=old_side)
    found = _judge(new_response, old_response, rules, output)
    return Comparison(
        same=found.same,
        judge=found.judge,
        why=found.why,
        similarity=similarity(new_side.text, old_side.text, by_character=BY_CHARACTER if detailed else 0),
        diff=diff(old_side.text, new_side.text) if detailed else "",
        new=new_side,
        old=old_side,
    )


def _judge(new: Response, old: Response, rules: Strategy, output: Output | None) -> _Judgement:
    names = (Target(provider="new", model="answer"), Target(provider="old", model="answer"))
    panel = Panel(names, rules, output=output)
    panel.add(0, new)
    panel.add(1, old)
    verdict = panel.verdict()
    consensus = panel.consensus(verdict, stopped_early=False)
    unread = "; ".join(f"{error.name.partition('/')[0]}: {error.why}" for error in consensus.errors)
    if consensus.n_ok == 2:
        same = consensus.agreement == 1.0
        return _Judgement(same=same, judge=consensus.judge, why=_WORDS.get((consensus.judge, same), _WORDS["exact", same]))
    if consensus.n_ok == 1:
        return _Judgement(same=False, judge=consensus.judge, why=f"only one side gave an answer that can be read: {unread}")
    return _Judgement(judge=consensus.judge, why=f"neither answer can be read: {unread}")


_WORDS = {
    ("exact", True): "the same text but for case, spacing and the form of numbers",
    ("exact", False): "different texts",
    ("json", True): "the same JSON",
    ("json", False): "different JSON",
    ("tool_calls", True): "the same tool calls",
    ("tool_calls", False): "different tool calls",
}


def is_right(text: str, expect: str) -> bool:
    """Say whether an answer contains what a right one does, whatever its case, spaces and commas."""
    return _comparable(expect) in _comparable(text)


def _comparable(text: str) -> str:
    return text.casefold().replace(",", "").replace(" ", "")


def load_judge(name: str) -> JudgeChoice:
    """Return the judge of that name. Raises `RequestError`."""
    known: JudgeChoice
    for known in get_args(JudgeChoice):
        if known == name:
            return known
    raise RequestError(f"There is no judge {name!r}.", param="judge", hint="The judges are auto, exact and json.")


# --- likeness and difference -------------------------------------------------------------------------------------------


def similarity(one: str, other: str, *, by_character: int = BY_CHARACTER) -> float:
    """Return how alike two texts are: 0 for nothing in common, 1 for the same after normalisation.

    It does not depend on which is which. 2 M / T, with M of T characters in matching blocks (Ratcliff and Metzener, Pattern
    Matching: The Gestalt Approach, 1988); of texts with more than `by_character` characters, with M of T words that both have
    (Dice's coefficient).
    """
    first, second = sorted((normalise(one), normalise(other)))
    if first == second:
        return 1.0
    if len(first) + len(second) <= by_character:
        return difflib.SequenceMatcher(None, first, second, autojunk=False).ratio()
    return difflib.SequenceMatcher(None, first.split(), second.split()).quick_ratio()


def diff(old: str, new: str) -> str:
    """Return the difference of two texts for a reader; empty where they are equal."""
    if old == new:
        return ""
    if min(len(old.splitlines()), len(new.splitlines())) >= _LINES:
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "old", "new", lineterm="", n=2)
        return "\n".join(lines)
    marks = {"both": ("", ""), "old": ("[-", "-]"), "new": ("{+", "+}")}
    return "".join(f"{marks[change.kind][0]}{change.text}{marks[change.kind][1]}" for change in changes(old, new))


def changes(old: str, new: str) -> tuple[Change, ...]:
    """Return the pieces that make an old text a new one, word by word.

    Those of `both` and `old` together are the old text, those of `both` and `new` the new one.
    """
    ours, theirs = _words(old), _words(new)
    long = len(ours) + len(theirs) > _MANY_WORDS
    found: list[Change] = []
    for kind, start, end, begin, stop in difflib.SequenceMatcher(None, ours, theirs, autojunk=long).get_opcodes():
        if kind == "equal":
            found.append(Change(kind="both", text="".join(ours[start:end])))
            continue
        found += [Change(kind="old", text="".join(ours[start:end]))] if end > start else []
        found += [Change(kind="new", text="".join(theirs[begin:stop]))] if stop > begin else []
    return tuple(found)


def _words(text: str) -> Sequence[str]:
    return re.findall(r"\w+\s*|[^\w\s]\s*|\s+", text)
