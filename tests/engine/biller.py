"""A provider that bills as it is told: its answers, their counts and their failures are in what it is asked.

It speaks OpenAI's dialect and Anthropic's over HTTP. The last message of a request is a `Bill` as JSON; what was billed is
kept, request by request, so that others' books can be held against it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Literal

import msgspec
from aiohttp import web

WORDS = ("Ships", " sail", " on", " seas", ".")


class Bill(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How a request is answered and billed."""

    number: int
    """Whose it is."""
    usage: dict[str, Any] | None = None
    """What is said of its counts; None: nothing."""
    usage_in: Literal["end", "last", "each", "twice", "groq"] = "end"
    """Where a stream says it: alone at the end, with the last word, with every word, wrongly at first and then, or as Groq."""
    tier: str | None = None
    """The service tier that is said to have answered."""
    failures: tuple[int, ...] = ()
    """The statuses that answer the first attempts."""
    pause_s: float = 0.0
    """Before each word."""

    def prompt(self) -> str:
        """Return it as what a caller asks."""
        return msgspec.json.encode(self).decode()


class Billed(msgspec.Struct):
    """A request that came."""

    bill: Bill
    model: str
    status: int = 0
    whole: bool = False
    """Whether the whole answer was sent."""


class Biller:
    """The provider."""

    def __init__(self) -> None:
        self.billed: list[Billed] = []
        self.port = 0
        self._failed: Counter[int] = Counter()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Biller:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._serve)
        app.router.add_post("/v1/messages", self._serve)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        said = asked["messages"][-1]["content"]
        bill = msgspec.json.decode(said if isinstance(said, str) else said[0]["text"], type=Bill)
        billed = Billed(bill, asked["model"])
        self.billed.append(billed)
        tried = self._failed[bill.number]
        self._failed[bill.number] += 1
        if tried < len(bill.failures):
            billed.status = bill.failures[tried]
            error = {"error": {"message": "Not now.", "type": "server_error"}}
            return web.json_response(error, status=billed.status, headers={"retry-after": "0", "retry-after-ms": "1"})
        billed.status = 200
        if request.path.endswith("messages"):
            return await (self._stream_claude if asked.get("stream") else self._whole_claude)(request, billed)
        envelope = {"id": f"bill-{bill.number}", "model": asked["model"], "created": 1, "service_tier": bill.tier}
        return await (self._stream if asked.get("stream") else self._whole)(request, billed, envelope)

    async def _whole(self, request: web.Request, billed: Billed, envelope: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(billed.bill.pause_s * len(WORDS))
        message = {"role": "assistant", "content": "".join(WORDS)}
        body = {**envelope, "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        billed.whole = True
        return web.json_response(body | ({} if billed.bill.usage is None else {"usage": billed.bill.usage}))

    async def _stream(self, request: web.Request, billed: Billed, envelope: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for place, word in enumerate(WORDS):
            await asyncio.sleep(billed.bill.pause_s)
            last = place == len(WORDS) - 1
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": "stop" if last else None}
            chunk = {**envelope, "object": "chat.completion.chunk", "choices": [choice]}
            await response.write(_event(chunk | _usage(billed.bill, first=not place, last=last)))
        if billed.bill.usage is not None and billed.bill.usage_in in ("end", "twice"):
            await response.write(_event({**envelope, "choices": [], "usage": billed.bill.usage}))
        billed.whole = True
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _whole_claude(self, request: web.Request, billed: Billed) -> web.StreamResponse:
        await asyncio.sleep(billed.bill.pause_s * len(WORDS))
        billed.whole = True
        content = [{"type": "text", "text": "".join(WORDS)}]
        return web.json_response(_message(billed, content) | {"stop_reason": "end_turn", "usage": billed.bill.usage})

    async def _stream_claude(self, request: web.Request, billed: Billed) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        usage = billed.bill.usage or {}
        begun = {"input_tokens": 1, "output_tokens": 1} if billed.bill.usage_in == "twice" else {**usage, "output_tokens": 1}
        await response.write(_event({"type": "message_start", "message": _message(billed, []) | {"usage": begun}}))
        block: dict[str, Any] = {"type": "text", "text": ""}
        await response.write(_event({"type": "content_block_start", "index": 0, "content_block": block}))
        for word in WORDS:
            await asyncio.sleep(billed.bill.pause_s)
            delta = {"type": "text_delta", "text": word}
            await response.write(_event({"type": "content_block_delta", "index": 0, "delta": delta}))
        await response.write(_event({"type": "content_block_stop", "index": 0}))
        counted = usage if billed.bill.usage_in == "twice" else {"output_tokens": usage.get("output_tokens")}
        await response.write(_event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": counted}))
        billed.whole = True
        await response.write(_event({"type": "message_stop"}))
        return response


def _message(billed: Billed, content: list[dict[str, Any]]) -> dict[str, Any]:
    envelope = {"id": f"msg_{billed.bill.number}", "type": "message", "role": "assistant", "model": billed.model}
    return {**envelope, "content": content, "stop_reason": None, "stop_sequence": None}


def _usage(bill: Bill, *, first: bool, last: bool) -> dict[str, Any]:
    """What a chunk of a stream says of the counts."""
    usage = bill.usage
    if usage is None:
        return {}
    match bill.usage_in:
        case "last" if last:
            return {"usage": usage}
        case "groq" if last:
            return {"x_groq": {"id": "q", "usage": usage}}
        case "each":  # counted up to here: the latest counts are those of all
            return {"usage": usage if last else {**usage, "completion_tokens": 0, "completion_tokens_details": None}}
        case "twice" if first:
            return {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
        case _:
            return {}


def _event(document: dict[str, Any]) -> bytes:
    name = f"event: {document['type']}\n".encode() if "type" in document else b""
    return name + b"data: " + msgspec.json.encode(document) + b"\n\n"
