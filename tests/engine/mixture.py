"""A random mixture of requests: everything that Podium can be asked, and everything that may come in between.

`models_of` makes the config that all of it needs, a `Mixture` asks.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from datetime import datetime
from typing import Any

from engine.biller import Bill, Biller
from making import Make
from podium import Models
from podium.errors import LimitError, PodiumError
from podium.routing.compare import Side
from podium.types import Attempt, Result

CAPITAL = "What is the capital of France?"
STORY = "Tell me a long story about ships."
TAGS = (
    "nightly", "eu", "a,b", '"', "é", "e\u0301", "[]", "", " ", "\x00", "nul\x00l", "\n", "'; --", "\U0001f6a2",
    "half \ud800", "NULL",
)  # fmt: skip
TURNS = ("2026-10-24T23:59:59.7Z", "2026-10-25T00:59:59.7Z", "2026-10-31T18:14:59.7Z")
"""A moment before midnight in UTC, before summer time ends (on the Azores at midnight), before a month ends in Kathmandu."""
RATES: dict[str, dict[str, Any]] = {
    "usual": {"input": 2.5, "output": 10, "cached_input": 1.25, "cache_write": 3.125},
    "fine": {"input": 0.0000007, "output": 0.0000013, "reasoning": 0.0000005, "per_request": 0.0000000000025},
    "heard": {"input": 4, "output": 16, "input_audio": 40, "output_audio": 80},
    "dear": {"input": 100, "output": 100},
    "free": {"input": 0, "output": 0},
    "searching": {"input": 3, "output": 15, "cached_input": 0.3, "cache_write_1h": 6, "per_web_search": 0.01},
}
"""USD a million tokens, of the models of both houses; `fine` costs parts of a pico-dollar, `searching` is Claude's."""


class Clock:
    """Goes on by some tens of milliseconds whenever it is read, so that a few reads take it over midnight."""

    def __init__(self, drawn: random.Random) -> None:
        self._drawn = drawn
        self._now = 0.0
        self.turn()

    def turn(self) -> None:
        """Go to a moment before one of `TURNS`."""
        self._now = datetime.fromisoformat(self._drawn.choice(TURNS)).timestamp() - self._drawn.random() / 8

    def time(self) -> float:
        self._now += self._drawn.random() / 8
        return self._now


def models_of(make: Make, biller: Biller, **config: Any) -> Models:
    """Everything that requests can be of, under one config."""
    one = {"experiments": {"one": {"strategy": "first", "providers": ["house/usual"]}}, "timezone": "Etc/GMT+12"}
    return make(
        providers={
            "house": {"base_url": f"{biller.url}/v1"},
            "claude-house": {"dialect": "anthropic", "base_url": biller.url, "models": ["usual", "searching"]},
            "openai-us": {"kind": "openai", "base_url": f"{biller.url}/v1", "api_key": "sk-of-a-test-0123456789"},
        },
        prices={
            **{f"{house}/{model}": rates for model, rates in RATES.items() for house in ("house", "claude-house")},
            "house/fee": {**RATES["usual"], "per_request": 94},
        },
        tiers={
            "race": {"strategy": "race", "models": ["openai/gpt-4o-mini", "groq/llama-3.1-8b-instant", "openai/gpt-4.1"]},
            "safe": {"strategy": "fallback", "models": ["openai/gpt-down", "anthropic/claude-haiku-4-5"], "retries": 1},
            "agreed": {
                "strategy": "consensus",
                "models": ["openai/gpt-4o", "groq/llama-3.3-70b-versatile"],
                "escalate_to": "anthropic/claude-sonnet-4-5",
            },
            "again": {"models": ["house/usual", "house/fine"], "strategy": "fallback", "retries": 2},
            "bound": {"models": ["house/dear"], "strategy": "first", "max_cost": 0.001},
        },
        rollouts={
            "move": {
                "match": ["gpt-4"],
                "legacy": "openai/gpt-4o",
                "candidate": "anthropic/claude-haiku-4-5",
                "percent": 50,
                "shadow": {"sample": 100, "budget_usd_per_day": 20},
            }
        },
        users={
            "jane": {**one, "team": "search", "defaults": {"experiment": "one", "costLimitMonth": 95}},
            "bob": {**one, "keys": {"openai": "sk-bobs-own-key-0123456789"}, "mode": "byok", "defaults": {"experiment": "one"}},
            "eve": {**one, "defaults": {"experiment": "one", "costLimit": 0.000001}},
        },
        teams={"search": {}, "blue": {}},
        unpriced="allow",
        auto_tiers=False,
        **config,
    )


class Mixture:
    """Asks at random, and keeps what came of it."""

    def __init__(self, models: Models, drawn: random.Random, clock: Clock) -> None:
        self._models = models
        self._drawn = drawn
        self._clock = clock
        self._number = 0
        self.ended: dict[str, tuple[Attempt, ...]] = {}
        """By request: the attempts that its result, or its error, tells of."""
        self.results: dict[str, Result] = {}
        self.sides: list[Side] = []
        """Of comparisons."""
        self.kinds: Counter[str] = Counter()

    async def ask(self, times: int) -> None:
        """Ask so many requests, some of them at once, each kind about as often."""
        kinds = [
            self._billed,
            self._streamed,
            self._left,
            self._cancelled,
            self._timed_out,
            self._tier,
            self._turn,
            self._claude,
            self._compared,
            self._shadowed,
        ]
        for first in range(0, times, 4):
            if self._drawn.random() < 0.3:
                self._clock.turn()
            await asyncio.gather(*(kinds[(first + place) % len(kinds)]() for place in range(4)))

    def _named(self) -> dict[str, Any]:
        """Who asks, and what is written on it."""
        self._number += 1
        metadata: dict[str, Any] = {}
        if self._drawn.random() < 0.7:
            metadata["tags"] = self._drawn.choices(TAGS, k=self._drawn.choice((0, 1, 1, 2, 3)))
        if self._drawn.random() < 0.3:
            metadata["team"] = self._drawn.choice(("search", "blue", "a\x00b", "\udfff"))
        user = self._drawn.choice((None, None, "jane", "nobody else"))
        return {"metadata": metadata, "user_id": user, "request_id": f"request-{self._number}"}

    async def _ended(self, kind: str, named: dict[str, Any], work: Awaitable[Result]) -> None:
        self.kinds[kind] += 1
        try:
            result = await work
        except PodiumError as error:
            self.kinds[f"{kind}: {error.code}"] += 1
            if attempts := getattr(error, "attempts", ()):
                self.ended[named["request_id"]] = attempts
        else:
            self.results[named["request_id"]] = result
            self.ended[named["request_id"]] = result.attempts

    def _call(self, spec: str, *, streamed: bool, **ask: Any) -> Awaitable[Result]:
        return self._models.stream_text(spec, **ask).result() if streamed else self._models.generate_text(spec, **ask)

    def _house(self, named: dict[str, Any]) -> tuple[str, str]:
        """A model, and how it bills."""
        model = self._drawn.choice(["usual", "fine", "heard", "dear", "free", "unpriced"])
        # Nothing is reserved for it, so its user's limit does not hear of what its provider says it cost after all.
        unseen = named["user_id"] == "jane" and model in ("free", "unpriced")
        return f"house/{model}", self._bill(reports=not unseen).prompt()

    def _bill(self, *, reports: bool = True, **more: Any) -> Bill:
        drawn = self._drawn
        prompt, completion = drawn.choice((0, 1, 999, 12_345, 10**6)), drawn.choice((0, 1, 7, 4_096, 10**6))
        usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        if drawn.random() < 0.6:
            usage["prompt_tokens_details"] = {
                "cached_tokens": drawn.choice((0, 1, prompt // 2, prompt, prompt + 5, None, -3)),
                "cache_write_tokens": drawn.choice((0, prompt // 3)),
                "audio_tokens": drawn.choice((0, prompt // 5)),
            }
        if drawn.random() < 0.6:
            thought = drawn.choice((0, completion // 2, completion, completion + 1, "5"))
            usage["completion_tokens_details"] = {
                "reasoning_tokens": thought,
                "audio_tokens": drawn.choice((0, completion // 4)),
            }
        if reports and drawn.random() < 0.2:
            usage["cost"] = drawn.choice((0, 0.00125, 1e-13, 1.23456789012345e-7, 3))
        usage = {
            name: float(value) if drawn.random() < 0.1 and isinstance(value, int) else value for name, value in usage.items()
        }
        if drawn.random() < 0.1:
            del usage["total_tokens"]
        where: Any = drawn.choice(("end", "last", "each", "twice", "groq"))
        return Bill(number=self._number, usage=usage if drawn.random() < 0.9 else None, usage_in=where, **more)

    async def _billed(self) -> None:
        named = self._named()
        if self._drawn.random() < 0.3:
            bill = self._bill(tier=self._drawn.choice((None, "default", "flex", "priority")))
            tier = self._drawn.choice((None, "flex", "priority"))
            work = self._models.generate_text(
                "openai-us/gpt-5", prompt=bill.prompt(), service_tier=tier, **{**named, "user_id": None}
            )
            await self._ended("service tier", named, work)
        else:
            model, prompt = self._house(named)
            await self._ended("billed", named, self._call(model, streamed=False, prompt=prompt, **named))

    async def _streamed(self) -> None:
        named = self._named()
        model, prompt = self._house(named)
        await self._ended("streamed", named, self._call(model, streamed=True, prompt=prompt, **named))

    async def _claude(self) -> None:
        """Answered in Anthropic's dialect, whose counts do not overlap."""
        named, drawn = self._named(), self._drawn
        counts = (0, 1, 7, 4_096, 200_000)
        hour, minutes = drawn.choice(counts), drawn.choice(counts)
        usage: dict[str, Any] = {
            "input_tokens": drawn.choice(counts[1:]),
            "output_tokens": drawn.choice(counts),
            "cache_read_input_tokens": drawn.choice((*counts, None)),
            "cache_creation_input_tokens": hour + minutes,
            "cache_creation": {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": float(hour)},
            "server_tool_use": {"web_search_requests": drawn.choice((0, 1, 3))},
        }
        where: Any = drawn.choice(("end", "twice"))
        bill = Bill(number=self._number, usage=usage, usage_in=where)
        spec = drawn.choice(("claude-house/searching", "claude-house/searching", "claude-house/usual"))
        await self._ended("claude", named, self._call(spec, streamed=drawn.random() < 0.6, prompt=bill.prompt(), **named))

    async def _left(self) -> None:
        named = self._named()
        self.kinds["left"] += 1
        spec = self._drawn.choice(("house/usual", "anthropic/claude-slow", "openai/gpt-slow", "tier:race"))
        prompt = self._bill(pause_s=0.02).prompt() if spec.startswith("house") else STORY
        with suppress(LimitError):
            async with self._models.stream_text(spec, prompt=prompt, **named) as stream:
                async for _ in stream.text:
                    break

    async def _cancelled(self) -> None:
        named = self._named()
        self.kinds["cancelled"] += 1
        spec = self._drawn.choice(("house/usual", "openai/gpt-slow", "anthropic/claude-slow"))
        prompt = self._bill(pause_s=0.02).prompt() if spec.startswith("house") else STORY
        task = asyncio.ensure_future(self._models.generate_text(spec, prompt=prompt, **named))
        await asyncio.sleep(self._drawn.choice((0, 0.01, 0.03)))
        task.cancel()
        await asyncio.wait([task])

    async def _timed_out(self) -> None:
        named = self._named()
        spec = self._drawn.choice(("openai/gpt-hangs", "anthropic/claude-stalls"))
        streamed = self._drawn.random() < 0.5
        await self._ended("timed out", named, self._call(spec, streamed=streamed, prompt=STORY, timeout="150ms", **named))

    async def _tier(self) -> None:
        named = self._named()
        tier = self._drawn.choice(("race", "safe", "agreed", "again", "bound"))
        if tier in ("again", "bound"):
            failures = (
                tuple(self._drawn.choices((429, 500, 503), k=self._drawn.choice((0, 1, 2, 3)))) if tier == "again" else ()
            )
            prompt = self._bill(failures=failures).prompt()
        else:
            prompt = self._drawn.choice((CAPITAL, STORY))
        streamed = tier != "agreed" and self._drawn.random() < 0.5
        ask = {"prompt": prompt, "max_tokens": 50, "strict": tier == "bound", **named}
        await self._ended(f"tier {tier}", named, self._call(f"tier:{tier}", streamed=streamed, **ask))

    async def _turn(self) -> None:
        """What is asked of a model in another way, or refused."""
        named = self._named()
        kind = self._drawn.choice(("structured", "tools", "thinking", "local", "own key", "over the limit", "wrong"))
        schema = {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        }
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": schema}}]
        asked: dict[str, tuple[str, dict[str, Any]]] = {
            "structured": ("openai/gpt-4o", {"output": schema}),
            "tools": ("anthropic/claude-haiku-4-5", {"tools": tools, "prompt": "What is the weather in Paris?"}),
            "thinking": (self._drawn.choice(("openai/o4-mini", "anthropic/claude-sonnet-4-5")), {"thinking": "low"}),
            "local": ("local/llama3.3:70b", {}),
            "own key": ("openai/gpt-4o", {"user_id": "bob"}),
            "over the limit": ("openai/gpt-4o", {"user_id": "eve", "strict": True}),
            "wrong": ("openai/gpt-wrong", {}),
        }
        spec, more = asked[kind]
        await self._ended(kind, named, self._models.generate_text(spec, **{"prompt": CAPITAL, **named, **more}))

    async def _compared(self) -> None:
        self._named()
        self.kinds["compared"] += 1
        new, old = self._drawn.sample(
            ("tier:race", "tier:safe", "openai/gpt-4o", "openai/gpt-hangs", "openai/gpt-wrong", "groq/nobody-knows-me"), 2
        )
        compared = await self._models.compare(new=new, old=old, prompt=CAPITAL, timeout="300ms", metadata={"tags": ["eu"]})
        self.sides += [compared.new, compared.old]

    async def _shadowed(self) -> None:
        named = self._named()
        user = f"user-{self._number}"
        await self._ended("shadowed", named, self._models.generate_text("gpt-4", prompt=CAPITAL, **{**named, "user_id": user}))
