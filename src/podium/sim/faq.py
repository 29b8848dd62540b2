"""The facts that the simulated models know, and how a question finds one.

Theory. A fact has groups of words; a sentence asks for it when it has a word of every group and little else that carries
meaning. Of several facts that fit, the one with the most groups wins. So "What is the capital of France?" and "Name France's
capital city, please" find the same fact, and an essay that mentions both words does not.

Rules.
- Every model gives the same short answer, so that a consensus can agree; a model that errs gives one of `wrong`.
- The facts are data: `facts.toml`. What can be computed is in `podium.sim.computed`.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from podium.types import Value


class Fact(Value, frozen=True, kw_only=True):
    """One question and its answer."""

    question: str
    """The question as one would ask it."""
    answer: str
    wrong: tuple[str, ...]
    """What a model that errs says."""
    topic: str
    groups: tuple[frozenset[str], ...]
    """A sentence asks for this if it has a word of each group."""


_LANGUAGES = ("French", "German", "Spanish", "Italian")
"""The order of the columns of `translations`."""

_EMPTY_WORDS = (
    "a an and answer any are as at be briefly by called can city comes concise concisely could country did digits do does "
    "enter exactly for from full give had has have how i in is it its just know known many me mean means more much my name "
    "named now number of on one only or out please question reply respond say short single so state tell that the their "
    "them then there these this to today us was were what whats when where which who whose will with word words would year "
    "years you your"
)
EMPTY = frozenset(_EMPTY_WORDS.split())
"""Words that say nothing of what is asked."""


def words_of(text: str) -> list[str]:
    """Return a text's words in lower case, without accents and possessives."""
    plain = unicodedata.normalize("NFKD", text.lower().replace("’", "'"))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.findall(r"[a-z]+|\d+", re.sub(r"'s\b", "", plain))


def sentences_of(text: str) -> list[str]:
    """Cut a text into sentences and lines."""
    return [part for part in re.split(r"(?<=[.?!])\s+|\n+", text) if part.strip()]


def _groups(*words: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(alternatives.split("/")) for alternatives in words)


def _others(answers: Iterable[str], answer: str, number: int = 3) -> tuple[str, ...]:
    """Return some of the other answers of a table: errors that one could believe."""
    every = [other for other in dict.fromkeys(answers) if other != answer]
    start = sum(map(ord, answer)) % len(every)
    return tuple((every * 2)[start : start + number])


def _column(table: dict[str, str], question: str, topic: str, word: str) -> Iterable[Fact]:
    """Make a fact of each row of a table with one column."""
    for subject, answer in table.items():
        yield Fact(
            question=question.format(subject),
            answer=answer,
            wrong=_others(table.values(), answer),
            topic=topic,
            groups=_groups(word, subject.lower()),
        )


def _tabled(tables: dict[str, Any]) -> Iterable[Fact]:
    yield from _column(tables["capitals"], "What is the capital of {}?", "capitals", "capital")
    symbols = {element: row[0] for element, row in tables["elements"].items()}
    yield from _column(symbols, "What is the chemical symbol of {}?", "chemistry", "symbol")
    yield from _column(tables["formulas"], "What is the chemical formula of {}?", "chemistry", "formula")
    for element, (_, number) in tables["elements"].items():
        yield Fact(
            question=f"What is the atomic number of {element}?",
            answer=str(number),
            wrong=(str(number + 1), str(number + 2)),
            topic="chemistry",
            groups=_groups("atomic", "number", element),
        )
    for phrase, forms in tables["translations"].items():
        for language, form in zip(_LANGUAGES, forms, strict=True):
            words = [word for word in phrase.split() if word != "the"]
            yield Fact(
                question=f'Translate "{phrase}" into {language}.',
                answer=form,
                wrong=_others((*forms, "Non"), form),
                topic="translation",
                groups=_groups(*words, language.lower(), "translate/translation/say/word/in/into"),
            )


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(files("podium.sim").joinpath("facts.toml").read_text("utf-8"))


@cache
def all_facts() -> tuple[Fact, ...]:
    """Return every fact of the tables."""
    listed = (
        Fact(
            question=row["question"],
            answer=row["answer"],
            wrong=tuple(row["wrong"]),
            topic=row["topic"],
            groups=_groups(*row["asks"]),
        )
        for row in _tables()["facts"]
    )
    return (*_tabled(_tables()), *listed)


def computed_questions() -> tuple[str, ...]:
    """Return questions whose answers are computed: an example of each kind."""
    return tuple(_tables()["computed"]["questions"])


@cache
def _by_word() -> dict[str, tuple[Fact, ...]]:
    """Facts by the words of their rarest group, so that a sentence tries few of them."""
    uses: dict[str, int] = {}
    for fact in all_facts():
        for word in frozenset[str]().union(*fact.groups):
            uses[word] = uses.get(word, 0) + 1
    index: dict[str, list[Fact]] = {}
    for fact in all_facts():
        rarest = min(fact.groups, key=lambda group: sum(uses[word] for word in group))
        for word in rarest:
            index.setdefault(word, []).append(fact)
    return {word: tuple(found) for word, found in index.items()}


def find(text: str) -> Fact | None:
    """Return the fact that one of a text's sentences asks for, if any."""
    for sentence in sentences_of(text):
        if fact := _asked(sentence):
            return fact
    # A riddle spreads over sentences; it is tried as a whole, where it is short.
    return _asked(text) if len(text) < 200 else None


def _asked(sentence: str) -> Fact | None:
    words = words_of(sentence)
    if len(words) > 60:
        return None
    present = frozenset(words)
    candidates = {fact.question: fact for word in words for fact in _by_word().get(word, ())}
    best: Fact | None = None
    for fact in candidates.values():
        if all(group & present for group in fact.groups) and (best is None or len(fact.groups) > len(best.groups)):
            best = fact
    if best is None:
        return None
    asked = frozenset(words_of(best.question)).union(*best.groups)
    beside = [word for word in words if word not in asked and word not in EMPTY]
    return best if len(beside) <= max(2, len(best.groups)) else None
