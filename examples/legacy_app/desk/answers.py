"""Answers to travellers' questions."""

from __future__ import annotations

from collections.abc import AsyncIterator

from desk.clients import get_language_model

STYLE = "You are the help desk of a travel agency. Answer briefly."


async def answer(question: str) -> str:
    """Answer a question."""
    model = get_language_model("gpt-4o")
    said = await model.generate(prompt=question, system=STYLE)
    return said.text


async def stream(question: str) -> AsyncIterator[str]:
    """Answer a question, piece by piece."""
    model = get_language_model("gpt-4o")
    async for piece in model.stream(prompt=question, system=STYLE):
        yield piece
