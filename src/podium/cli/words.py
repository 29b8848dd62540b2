"""A result in a few words: who answered, why, how long it took, and what it used.

Rules. What is said is read off the result; nothing is guessed. Unknown costs are left out, never shown as nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.cli.console import plural, seconds, short
from podium.types import Refusal, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.types import Attempt, Consensus, Result

_NAMED = 3
_NOTABLE_S = 0.05
_ERROR_WIDTH = 60


def answer_text(result: Result) -> str:
    """Return what the model said: its text, or its words for declining."""
    return "".join(part.text for part in result.parts if isinstance(part, Text | Refusal))


def why(result: Result) -> str:
    """Say in one clause why this target answered."""
    if result.consensus is not None:
        return _why_consensus(result.consensus)
    others = [attempt for attempt in result.attempts if attempt.outcome != "won"]
    rule = result.reasons.rule
    targets = len(result.reasons.targets)
    if result.reasons.strategy == "race" and targets > 1:
        words = f"first of {len({attempt.target for attempt in result.attempts})} in a race"
    elif targets > 1 and not others:
        words = f"first in line of {plural(targets, 'target')}"
    else:
        words = "" if others else _RULES.get(rule, "the only target")
    ends = _ends(others)
    if ends:
        words += f"; {ends}" if words else f"after {ends}"
    return f"by automatic tier, {words}" if rule == "auto_tier" else words


_RULES = {
    "target": "named by the spec",
    "alias": "named by the alias",
    "bare_model": "the provider whose model it is",
    "tier": "the tier's first",
    "bare_tier": "the tier's first",
    "auto_tier": "the tier's first",
    "default_tier": "the default tier's first",
    "experiment": "the experiment's first",
    "user_default": "the first of the user's default",
}


def _ends(attempts: Sequence[Attempt]) -> str:
    """How the attempts that did not answer ended."""
    ends = [f"{attempt.target} {_end(attempt)}" for attempt in attempts[:_NAMED]]
    if len(attempts) > _NAMED:
        ends.append(f"{len(attempts) - _NAMED} more")
    return ", ".join(ends)


def _end(attempt: Attempt) -> str:
    match attempt.outcome:
        case "lost":
            return "lost"
        case "failed":
            return f"failed ({(attempt.error_code or 'error').replace('_', ' ')})"
        case "rejected":
            return "was not sent"
        case outcome:
            return outcome


def _why_consensus(consensus: Consensus) -> str:
    votes = max((cluster.votes for cluster in consensus.clusters), default=0)
    if consensus.escalated_to is not None:
        words = f"no quorum ({votes} of {consensus.n_configured} agreed), so it was asked"
    else:
        words = f"{votes} of {consensus.n_configured} agree"
        words += ", the rest was not needed" if consensus.stopped_early else ""
        words += "" if consensus.quorum_met else ", which is no quorum"
    words += "".join(f"; {answer.target} said “{short(answer.text, 40)}”" for answer in consensus.dissent[:_NAMED])
    words += "".join(f"; {error.name}: {short(error.why, _ERROR_WIDTH)}" for error in consensus.errors[:_NAMED])
    return words


def tokens(result: Result) -> tuple[int, int] | None:
    """Count the tokens of all attempts, in and out, as far as their providers said; None where none did."""
    usages = [attempt.usage for attempt in result.attempts if attempt.usage is not None]
    if not usages and result.usage is not None:
        usages = [result.usage]
    if not usages:
        return None
    return sum(usage.total_input for usage in usages), sum(usage.total_output for usage in usages)


def first_content_s(result: Result) -> float | None:
    """Return the time from the request's beginning to the winner's first content, if that was seen."""
    for attempt in result.attempts:
        if attempt.outcome == "won" and attempt.first_content_s is not None:
            return attempt.started_s + attempt.first_content_s
    return None


def summary(result: Result) -> str:
    """Say who answered, why, in what time and with how many tokens."""
    words = [f"{result.target}: {why(result)}"]
    first = first_content_s(result)
    time = seconds(result.duration_s)
    told = first is not None and result.duration_s - first > _NOTABLE_S
    words.append(f"{time}, first words after {seconds(first)}" if told else time)
    if (counts := tokens(result)) is not None:
        words.append(f"tokens {counts[0]:,} in, {counts[1]:,} out")
    if result.cost_usd is not None:
        words.append(f"${result.cost_usd:f}")
    if result.finish_reason not in ("stop", "tool_calls"):
        words.append(_FINISHES.get(result.finish_reason, result.finish_reason))
    return " · ".join(words)


_FINISHES = {
    "length": "cut off at its greatest length",
    "content_filter": "stopped by a content filter",
    "pause": "paused by the provider",
}
