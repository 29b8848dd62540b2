"""Answers side by side: those that differ, and those that one side did not give.

Rules.
- Words that only the old answer has are struck through, those that only the new one has are underlined: `del` and `ins`, which
  can be told apart without colours, and by those who hear the page.
- The page shows `MOST` of them and says how many there are; the file of results has all.
"""

from __future__ import annotations

from collections.abc import Sequence

from podium.cli.compared import Compared
from podium.cli.console import seconds
from podium.cli.report.figures import usd
from podium.cli.report.markup import Child, Markup, tag
from podium.routing.compare import Side, changes

MOST = 500
_LONG = 1_500
"""Letters from which an answer has a room of its own to be scrolled in."""
_MARKED = 20_000
"""Letters of both answers beyond which no words are marked: finding them takes the square of the time."""


def worth_showing(each: Compared) -> bool:
    """Say whether a comparison is among those shown: not the same, or a right answer against a wrong one."""
    seen = each.observation
    return each.comparison.same is not True or seen.right_old != seen.right_new


def show_answers(shown: Sequence[Compared]) -> Markup:
    """Show comparisons, in the order in which they are given."""
    return tag("div", (_one(each, number) for number, each in enumerate(shown)), id="answers")


def _one(each: Compared, number: int) -> Markup:
    comparison, seen = each.comparison, each.observation
    old, new = comparison.old, comparison.new
    title = f"Prompt {each.line}" + ("" if each.id is None or each.id == each.line else f" ({each.id})")
    facts = [each.category, comparison.why]
    if comparison.similarity is not None:
        facts.append(f"{comparison.similarity:.0%} alike")
    if len(old.text) + len(new.text) > _MARKED:
        facts.append("too long for words to be marked")
    return tag(
        "article",
        tag("h3", title, " ", tag("span", " · ".join(fact for fact in facts if fact), class_="why")),
        tag("p", each.prompt, class_="prompt", dir="auto"),
        tag("div", _side(old, new, seen.right_old, title), _side(new, old, seen.right_new, title), class_="sides"),
        data_kind=kind_of(each),
        data_category=each.category,
        data_alike=comparison.similarity if comparison.similarity is not None else -1,
        data_order=number,
    )


def kind_of(each: Compared) -> str:
    """Say what an answer can be looked for by."""
    comparison = each.comparison
    failed = [side.side for side in (comparison.old, comparison.new) if not side.ok]
    if failed:
        return "both failed" if len(failed) == 2 else f"{failed[0]} failed"
    seen = each.observation
    if seen.right_old != seen.right_new:
        return "only old right" if seen.right_old else "only new right"
    return "differ"


def _side(side: Side, other: Side, right: bool | None, title: str) -> Markup:
    facts = [side.target or side.spec or "", seconds(side.duration_s)]
    if side.recorded:
        facts.append("recorded")
    if side.cost_usd is not None:
        facts.append(usd(side.cost_usd))
    verdict = None if right is None else tag("span", "✓ right" if right else "✗ wrong", class_="right" if right else "wrong")
    head = tag("p", tag("b", side.side, class_=f"chip {side.side}"), " ", verdict, tag("span", " · ".join(facts)), class_="who")
    scrolls = len(side.text) > _LONG
    body = tag(
        "div",
        _text(side, other),
        class_="answer",
        dir="auto",
        tabindex=0 if scrolls else None,
        role="group" if scrolls else None,
        aria_label=f"Answer of {side.side} to {title.lower()}" if scrolls else None,
    )
    return tag("div", head, body)


def _text(side: Side, other: Side) -> Markup:
    if not side.ok:
        return tag("p", tag("b", f"failed: {side.error_code}"), tag("br"), side.error, class_="failed")
    calls = [tag("p", f"{call.name}({call.arguments})", class_="call") for call in side.tool_calls]
    if not side.text and not calls:
        return tag("p", "(an empty answer)", class_="none")
    return tag("div", _marked(side, other), calls)


def _marked(side: Side, other: Side) -> Markup:
    """An answer's words, those marked that the other does not have."""
    if not other.ok or len(side.text) + len(other.text) > _MARKED:
        return tag("span", side.text)
    old, new = (side.text, other.text) if side.side == "old" else (other.text, side.text)
    mark = "del" if side.side == "old" else "ins"
    drawn: list[Child] = []
    for piece in changes(old, new):
        if piece.kind == side.side:
            words = piece.text.rstrip()
            drawn += (tag(mark, words) if words else None, piece.text[len(words) :])
        elif piece.kind == "both":
            drawn.append(piece.text)
    return tag("span", drawn)
