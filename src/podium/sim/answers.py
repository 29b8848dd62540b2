"""What a simulated model says: a function of the request and the model's name.

Theory. The last turn decides. Tool results are quoted; offered tools that fit are called; pictures are described; a wanted
form is filled; a question with a known answer gets it; anything else gets a paragraph on its subject. Two models that are
both right say the same of a known question and different things of an open one, so that a consensus can agree or disagree.

Rules.
- Nothing depends on the clock or on what was asked before; `seed` decides only which questions a model errs on.
- A choice beyond the first varies an open answer, never a known one.
"""

from __future__ import annotations

import base64
import re
from binascii import Error as Base64Error
from typing import Any

import msgspec

from podium.sim import chance, computed, documents, faq, prose
from podium.sim.model import SimModel
from podium.types import Finish, Media, Message, Part, Reasoning, Refusal, Request, Text, Tool, ToolCall, ToolResult, Value

_EFFORTS = {"minimal": 8, "low": 24, "medium": 60, "high": 120, "xhigh": 180, "max": 240}
"""Tokens of thought by effort."""

_REASONS_BY_ITSELF = re.compile(r"(?:^|/)(?:o\d|gpt-5(?!.*chat)|gpt-oss|deepseek-r)")

_ECHO = re.compile(r"\b(?:say|reply|respond|answer|write|repeat|output)\b[^\"“'`\n.]{0,40}[\"“'`]([^\"”'`\n]+)[\"”'`]", re.I)
_ECHO_WORD = re.compile(r"\b(?:reply|respond|answer) with (?:only |just |exactly )*(?:the )?(?:single )?word ([A-Za-z]+)", re.I)


class Draft(Value, frozen=True, kw_only=True):
    """What one choice is to say, before it is cut to measure."""

    parts: tuple[Part, ...]
    finish: Finish
    hidden_reasoning: str = ""
    """Thoughts that are counted and not shown."""


def draft(request: Request, settings: SimModel, *, dialect: str, seed: object, choice: int = 0) -> Draft:
    """Write one choice of the answer to a request."""
    model = request.model
    finish = Finish(choice=choice, reason="stop")
    if settings.empty:
        return Draft(parts=(), finish=finish)
    if settings.refuse:
        return _refusal(dialect, choice)
    prompt = prompt_of(request)
    shown, hidden = _thoughts(request, settings, prompt, dialect, choice)
    if settings.answer is not None:
        parts: tuple[Part, ...] = (Text(text=settings.answer),)
    elif calls := _calls(request, prompt, dialect, choice):
        parts, finish = calls, Finish(choice=choice, reason="tool_calls")
    else:
        parts = (Text(text=_text(request, settings, prompt, model, seed, choice)),)
    return Draft(parts=(*shown, *parts), finish=finish, hidden_reasoning=hidden)


def prompt_of(request: Request) -> str:
    """Return the text of the last message that a user wrote."""
    for message in reversed(request.messages):
        if message.role == "user" and message.text:
            return message.text
    return ""


def signature(text: str) -> str:
    """Sign a thought as this simulator does, so that a thought that was changed on its way can be told."""
    return base64.b64encode(b"sim:" + chance.digest("thought", text, size=48)).decode()


def known_questions() -> tuple[faq.Fact, ...]:
    """Return every question that is known: the facts, and an example of each kind that is computed."""
    examples = [(question, computed.compute(question)) for question in faq.computed_questions()]
    return (
        *faq.all_facts(),
        *(
            faq.Fact(question=question, answer=answer, wrong=(), topic="computed", groups=())
            for question, answer in examples
            if answer is not None
        ),
    )


def knows(prompt: str) -> str | None:
    """Return the right answer to a prompt, where it has one that is known here."""
    for sentence in faq.sentences_of(prompt):
        if (answer := computed.compute(sentence)) is not None:
            return answer
    fact = faq.find(prompt)
    return fact.answer if fact else None


def _refusal(dialect: str, choice: int) -> Draft:
    words = "I'm sorry, but I can't help with that."
    if dialect == "anthropic":
        return Draft(parts=(Text(text=words),), finish=Finish(choice=choice, reason="content_filter", raw="refusal"))
    return Draft(parts=(Refusal(text=words),), finish=Finish(choice=choice, reason="stop"))


# --- Thoughts --------------------------------------------------------------------------------------------------------


def _thoughts(request: Request, settings: SimModel, prompt: str, dialect: str, choice: int) -> tuple[tuple[Part, ...], str]:
    tokens = thinking_tokens(request, dialect)
    if not tokens:
        return (), ""
    text = prose.thoughts(prompt, tokens, request.model, choice)
    show = settings.show_reasoning if settings.show_reasoning is not None else dialect == "anthropic"
    if not show:
        return (), text
    if dialect != "anthropic":
        return (Reasoning(text=text),), ""
    signed = {"anthropic": {"signature": signature(text)}}
    told = request.thinking.extra.get("anthropic", {}) if request.thinking is not None else {}
    if told.get("display") == "omitted":
        return (Reasoning(extra=signed),), text
    return (Reasoning(text=text, extra=signed),), ""


def thinking_tokens(request: Request, dialect: str) -> int:
    """Return about how many tokens a request makes its model think; 0: none."""
    thinking = request.thinking
    if dialect == "anthropic":
        if thinking is None or thinking.enabled is False or (thinking.enabled is None and thinking.budget_tokens is None):
            return 0
        wanted = _EFFORTS.get(thinking.effort or "medium", 60)
        return min(wanted, thinking.budget_tokens) if thinking.budget_tokens else wanted
    if thinking is not None and (thinking.effort == "none" or thinking.enabled is False):
        return 0
    if thinking is not None and (thinking.effort or thinking.enabled or thinking.budget_tokens):
        return _EFFORTS.get(thinking.effort or "medium", 60)
    return _EFFORTS["medium"] if _REASONS_BY_ITSELF.search(request.model) else 0


# --- Tools -----------------------------------------------------------------------------------------------------------


_VERB_WORDS = "call check create do fetch find function get list look lookup make query read run search set tool"
_VERBS = frozenset(_VERB_WORDS.split())


def _calls(request: Request, prompt: str, dialect: str, choice: int) -> tuple[Part, ...]:
    tools = [tool for tool in request.tools if isinstance(tool, Tool)]
    picked = request.tool_choice
    mode = picked.mode if picked is not None else None
    if not tools or mode == "none":
        return ()
    if mode == "tool":
        wanted = [tool for tool in tools if picked is not None and tool.name == picked.name]
    elif _results(request):
        return ()
    else:
        wanted = [tool for tool in tools if _fits(tool, prompt)]
        if not wanted and mode == "required":
            wanted = tools[:1]
    parallel = picked is None or picked.parallel is not False
    hints = hints_of(prompt, None)
    calls: list[tuple[str, dict[str, Any]]] = []
    for tool in wanted:
        calls += [(tool.name, arguments) for arguments in _arguments(tool, hints, several=parallel)]
    key = chance.digest(request.model, _conversation(request), choice)
    prefix, length = ("toolu_01", 22) if dialect == "anthropic" else ("call_", 24)
    return tuple(
        ToolCall(
            id=prefix + chance.name(key, index, length=length),
            name=name,
            arguments=msgspec.json.encode(arguments).decode(),
        )
        for index, (name, arguments) in enumerate(calls[: 8 if parallel else 1])
    )


def _fits(tool: Tool, prompt: str) -> bool:
    asked = set(faq.words_of(prompt))
    named = set(faq.words_of(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", tool.name).replace("_", " "))) - _VERBS
    said = set(prose.topics_of(tool.description or "")) - _VERBS
    return bool(named & asked) or len(said & asked) >= 2


def _arguments(tool: Tool, hints: documents.Hints, *, several: bool) -> list[dict[str, Any]]:
    """Make the arguments of the calls to one tool: a call for each name in the prompt, where the tool asks for a text."""
    schema = tool.parameters or {}
    properties = schema.get("properties") or {}
    asks_text = any(
        isinstance(inner, dict) and inner.get("type") == "string" and "enum" not in inner for inner in properties.values()
    )
    turns = [(name,) for name in hints.names] if several and asks_text and len(hints.names) > 1 else [hints.names]
    made = [documents.make({"type": "object", **schema}, hints.replace(names=names)) for names in turns]
    return [arguments for arguments in made if isinstance(arguments, dict)]


def _results(request: Request) -> list[ToolResult]:
    """Return the tool results after the model's last turn."""
    found: list[ToolResult] = []
    for message in reversed(request.messages):
        if message.role == "assistant":
            break
        found[:0] = [part for part in message.parts if isinstance(part, ToolResult)]
    return found


def _quoted(request: Request, results: list[ToolResult]) -> str:
    names = {part.id: part.name for message in request.messages for part in message.parts if isinstance(part, ToolCall)}
    sentences = []
    for result in results:
        name = result.name or names.get(result.call_id, "tool")
        said = " ".join(part.text for part in result.parts if isinstance(part, Text)) or "nothing in words"
        sentences.append(f"The {name} call {'failed with' if result.is_error else 'returned'}: {said}")
    return "\n".join(sentences)


def _conversation(request: Request) -> bytes:
    return msgspec.json.encode(request.messages)


# --- Text ------------------------------------------------------------------------------------------------------------


def _text(request: Request, settings: SimModel, prompt: str, model: str, seed: object, choice: int) -> str:
    known = knows(prompt)
    if known is not None and not chance.happens(settings.accuracy, "accuracy", seed, model, prompt):
        known = _error(prompt, known, model)
    results = _results(request)
    if request.output is not None and request.output.kind != "text":
        answer = known if known is not None or not results else _quoted(request, results)
        return _document(request, prompt, answer)
    if results:
        return _quoted(request, results)
    if media := _media(request):
        return " ".join(_described(part) for part in media)
    if known is None and (echoed := _ECHO.search(prompt) or _ECHO_WORD.search(prompt)):
        return echoed[1]
    if known is not None:
        return known
    system = "".join(part.text for part in request.system if isinstance(part, Text))
    system += "".join(message.text for message in request.messages if message.role in ("system", "developer"))
    if echoed := _ECHO.search(system) or _ECHO_WORD.search(system):
        return echoed[1]
    if not prose.topics_of(prompt)[0] or re.fullmatch(
        r"\W*(hi|hello|hey|good (morning|evening))\b.{0,20}", prompt, re.I | re.S
    ):
        return f"Hello! I am {model}, a simulated model. What would you like to know?"
    return prose.paragraph(prompt, settings.length, model, system, prompt, len(request.messages), choice)


def _error(prompt: str, answer: str, model: str) -> str:
    """Return what a model that errs says instead of the answer."""
    fact = faq.find(prompt)
    if fact is not None and fact.answer == answer:
        return chance.chosen(fact.wrong, "wrong", model, prompt)
    if re.fullmatch(r"-?\d+", answer):
        return str(int(answer) + 1 + chance.number("wrong", model, prompt) % 9)
    if answer in ("Yes", "No"):
        return "No" if answer == "Yes" else "Yes"
    return chance.chosen(("I am not sure", "None of these", "It cannot be known"), "wrong", model, prompt)


def hints_of(prompt: str, answer: str | None) -> documents.Hints:
    """Return what a prompt says that may go into a document or a tool's arguments."""
    quoted = re.findall(r"[\"“`]([^\"”`\n]{1,60})[\"”`]", prompt)
    named: list[str] = []
    for sentence in faq.sentences_of(prompt):
        # A sentence's first word is capital for no reason of its own.
        rest = sentence.strip().split(" ", 1)[1] if " " in sentence.strip() else ""
        named += [
            name
            for name in re.findall(r"\b[A-Z][\w’'.-]*(?:\s+(?:de|da|van|of|the)?\s*[A-Z][\w’'.-]*)*", rest)
            if name not in ("I", "JSON", "What", "Please", "Use")
        ]
    return documents.Hints(
        answer=answer,
        names=tuple(dict.fromkeys(name.strip(".,'’-") for name in (*quoted, *named))),
        numbers=tuple(float(each) for each in re.findall(r"(?<![\w.])-?\d{1,12}(?:\.\d{1,6})?(?![\w])", prompt)),
        words=tuple(word for word in prose.topics_of(prompt) if " " not in word),
        key=prompt,
    )


def _document(request: Request, prompt: str, answer: str | None) -> str:
    hints = hints_of(prompt, answer)
    output = request.output
    if output is not None and output.kind == "json_schema" and output.schema is not None:
        made = documents.make(output.schema, hints)
    else:
        keys = re.search(r"\b(?:keys?|fields?|properties)\b:?((?:\s*(?:and|,|with)?\s*[\"'`“]\w+[\"'`”])+)", prompt)
        names = re.findall(r"\w{2,}", keys[1].replace(" and ", " ")) if keys else ["answer"]
        made = documents.make({"type": "object", "properties": {name: {"type": "string"} for name in names}}, hints)
    return msgspec.json.encode(made).decode()


def _media(request: Request) -> list[Media]:
    last: Message | None = next((each for each in reversed(request.messages) if each.role == "user"), None)
    return [part for part in last.parts if isinstance(part, Media)] if last is not None else []


def _described(media: Media) -> str:
    kind = "a sound" if media.kind == "audio" else f"an {media.kind}" if media.kind == "image" else f"a {media.kind}"
    if media.url is not None:
        return f"I was given {kind} at {media.url}."
    if media.data is None:
        return f"I was given {kind} of {len(media.text or '')} characters."
    try:
        content = base64.b64decode(media.data)
    except (Base64Error, ValueError):
        return f"I was given {kind} that is not valid base64."
    size = ""
    if content.startswith(b"\x89PNG") and len(content) >= 24:
        size = f", {int.from_bytes(content[16:20])} by {int.from_bytes(content[20:24])} pixels"
    elif content.startswith(b"GIF8") and len(content) >= 10:
        size = f", {int.from_bytes(content[6:8], 'little')} by {int.from_bytes(content[8:10], 'little')} pixels"
    return f"I was given {kind} of type {media.media_type}, {len(content)} bytes{size}."
