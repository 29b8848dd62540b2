"""The simulated providers' tokens: a stated, simple count that the usage and the streams share.

Theory. A token is a piece of text as `PIECE` cuts it: up to six letters or three digits with the space before them, one
punctuation mark with the space before it, or one other blank. The pieces of a text joined are that text, a stream sends one
piece (or several that are due together) a delta, and the usage counts the pieces that were sent: so it adds up by construction.

Rules.
- Input: the pieces of every text of the request, plus `PER_MESSAGE` a message and `PER_MEDIA` an image, sound or document.
- Output: the pieces that were sent. A tool call costs the pieces of its name and of its arguments.
"""

from __future__ import annotations

import re

import msgspec

from podium.types import Media, Message, Opaque, Part, Reasoning, Refusal, Request, Text, ToolCall, ToolResult

PIECE = re.compile(r" ?[^\W\d_]{1,6}| ?\d{1,3}| ?[^\w\s]|_|\s")
"""One token."""

PER_MESSAGE = 3
"""Tokens that a message's role and frame cost."""

PER_MEDIA = 85
"""Tokens that an image, a sound or a document costs, whatever its size."""


def pieces(text: str) -> list[str]:
    """Cut a text into its tokens; joined, they are the text."""
    return PIECE.findall(text)


def count(text: str) -> int:
    """Count a text's tokens."""
    return len(PIECE.findall(text))


def count_part(part: Part) -> int:
    """Count what one part costs when it is read."""
    match part:
        case Text() | Reasoning() | Refusal():
            return count(part.text)
        case Media():
            return PER_MEDIA + count(part.text or "")
        case ToolCall():
            return count(part.name) + count(part.arguments)
        case ToolResult():
            return sum(count_part(inner) for inner in part.parts)
        case Opaque():
            return count(msgspec.json.encode(part.data).decode())


def count_message(message: Message) -> int:
    """Count what one message costs when it is read."""
    return PER_MESSAGE + sum(count_part(part) for part in message.parts)


def count_request(request: Request) -> int:
    """Count a request's input tokens."""
    total = sum(count_message(message) for message in request.messages)
    if request.system:
        total += PER_MESSAGE + sum(count_part(part) for part in request.system)
    for tool in request.tools:
        total += count(msgspec.json.encode(tool).decode())
    if request.output is not None and request.output.schema is not None:
        total += count(msgspec.json.encode(request.output.schema).decode())
    return total
