"""The models that the desk asks, by their names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache

from openai import AsyncOpenAI, OpenAI


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    text: str


@dataclass(frozen=True)
class ChatModel:
    """One model of OpenAI's."""

    client: AsyncOpenAI
    name: str

    async def generate(self, *, prompt: str, system: str) -> Answer:
        """Ask, and wait for the whole answer."""
        completion = await self.client.chat.completions.create(
            model=self.name,
            messages=[{"role": "system", "content": system}, {"role": "user", "content": prompt}],
        )
        return Answer(text=completion.choices[0].message.content or "")

    async def stream(self, *, prompt: str, system: str) -> AsyncIterator[str]:
        """Ask, and give the answer's text as it comes."""
        chunks = await self.client.chat.completions.create(
            model=self.name,
            messages=[{"role": "system", "content": system}, {"role": "user", "content": prompt}],
            stream=True,
        )
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


def get_language_model(name: str) -> ChatModel:
    """Make a model by its name at OpenAI."""
    return ChatModel(_async_client(), name)


@cache
def blocking_client() -> OpenAI:
    """The client of what has no event loop; key and address are those of the environment."""
    return OpenAI()


@cache
def _async_client() -> AsyncOpenAI:
    return AsyncOpenAI()
