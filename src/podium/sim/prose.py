"""Paragraphs for prompts that have no known answer.

Theory. Sentences are drawn from frames whose blanks take the prompt's own words, so that a text reads as plausible English
on the prompt's subject, differs between models, and is the same each time.

Rules. A text is a function of its keys. It ends with a full sentence unless it is cut.
"""

from __future__ import annotations

from podium.sim import chance
from podium.sim.faq import EMPTY, words_of
from podium.sim.tokens import count

_OPENINGS = (
    "There is more to the matter of {a} than a first look suggests.",
    "A good way into {a} is to begin with {b}.",
    "Most accounts of {a} start from {b}, and for good reason.",
    "The short answer about {a} is that it depends on {b}.",
    "To understand {a}, it helps to set {b} beside {c}.",
    "Three things matter most about {a}: the purpose, the limits, and the link to {b}.",
)

_FRAMES = (
    "In practice, {a} and {b} are {relation}, and one should look at them together.",
    "People who deal with {a} every day {habit} before they turn to {b}.",
    "A common mistake is to mistake {a} for {b}; the two are {relation}.",
    "A change in {a} is {often} followed by a change in {b}, though with a delay.",
    "The evidence on {a} is {quality}, while the evidence on {b} is less settled.",
    "It pays to keep {a} {manner}, because mistakes with {b} are hard to repair later.",
    "From the side of {c}, the case for {a} is {quality} and the case for {b} is ordinary.",
    "For a first attempt, choose one part of {a}, leave {b} alone, and see what happens.",
    "Several studies of {a} point the same way: {often}, {b} will matter more than people expect.",
    "None of this rules out {c}, but it does put {a} in a clearer light.",
    "If time is short, {habit}, take note of {a}, and return to {b} afterwards.",
    "What holds for {a} need not hold for {b}, and that difference is {quality}.",
)

_CLOSINGS = (
    "In short, start with {a} and let {b} come second.",
    "On balance, a closer look at {a} is worth the time.",
    "That is why {a} should stay on the list.",
    "The rest is a matter of patience with {a} and some care for {b}.",
)

_FILL = {
    "relation": ("closely bound", "loosely related", "often confused", "two sides of one matter", "easier to see together"),
    "habit": ("check the simple cases", "write down what they expect", "ask what would prove them wrong", "measure twice"),
    "quality": ("stronger than it seems", "mixed", "clear", "surprising", "worth knowing", "easy to overlook"),
    "manner": ("simple", "small at first", "in plain sight", "under review", "separate from the rest"),
    "often": ("often", "sometimes", "almost always", "now and then"),
}

_DEFAULT_TOPICS = ("the question", "its context", "the details", "the usual assumptions")

_DULL_WORDS = (
    "about all also because between but describe don essay explain get got hello help here hey hi if into like list make "
    "may might need no not over paragraph poem sentence sentences should show some story text than thank thanks too under "
    "use used using very want write yes"
)
_NOT_TOPICS = EMPTY | frozenset(_DULL_WORDS.split())


def topics_of(prompt: str) -> tuple[str, ...]:
    """Return up to eight words that a prompt is about, in the order of their first use."""
    words = [word for word in words_of(prompt) if len(word) > 2 and word not in _NOT_TOPICS and not word.isdigit()]
    topics = tuple(dict.fromkeys(words))[:8]
    return topics if len(topics) >= 2 else (*topics, *_DEFAULT_TOPICS)


def sentence(frames: tuple[str, ...], topics: tuple[str, ...], *keys: object) -> str:
    """Draw one sentence."""
    frame = chance.chosen(frames, "frame", *keys)
    start = chance.number("topic", *keys)
    blanks = {blank: topics[(start + step) % len(topics)] for step, blank in enumerate("abc")}
    blanks |= {blank: chance.chosen(options, blank, *keys) for blank, options in _FILL.items()}
    return frame.format(**blanks)


def paragraph(prompt: str, tokens: int | None, *keys: object) -> str:
    """Write about a prompt: at least `tokens` tokens in full sentences, or 40 to 120 by the prompt where None."""
    topics = topics_of(prompt)
    wanted = tokens if tokens is not None else 40 + chance.number("length", prompt) % 81
    closing = sentence(_CLOSINGS, topics, "closing", *keys)
    text = sentence(_OPENINGS, topics, "opening", *keys)
    total = count(text) + count(closing)
    number = 0
    while total < wanted:
        more = " " + sentence(_FRAMES, topics, number, *keys)
        text += more
        total += count(more)
        number += 1
    return f"{text} {closing}" if total >= wanted or number else text


def thoughts(prompt: str, tokens: int, *keys: object) -> str:
    """Write what a model thinks before it answers a prompt: about `tokens` tokens."""
    topics = topics_of(prompt)
    text = f"The request concerns {topics[0]}. Let me consider {topics[1]} first."
    number = 0
    while count(text) < tokens:
        text += " " + sentence(_FRAMES, topics, "thought", number, *keys)
        number += 1
    return text
