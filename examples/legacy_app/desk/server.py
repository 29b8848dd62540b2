"""The desk over HTTP: `POST /ask`, `POST /stream` and `POST /phrase`, with JSON."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from desk import answers, phrases


def make_app() -> web.Application:
    """Make the service."""
    app = web.Application()
    app.router.add_post("/ask", ask)
    app.router.add_post("/stream", stream)
    app.router.add_post("/phrase", phrase)
    return app


async def ask(request: web.Request) -> web.Response:
    """Answer `{"user": ..., "question": ...}` with `{"answer": ...}`."""
    asked = await read(request, "user", "question")
    return web.json_response({"answer": await answers.answer(asked["question"])})


async def stream(request: web.Request) -> web.StreamResponse:
    """Answer `{"user": ..., "question": ...}` with plain text, piece by piece."""
    asked = await read(request, "user", "question")
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    async for piece in answers.stream(asked["question"]):
        await response.write(piece.encode())
    await response.write_eof()
    return response


async def phrase(request: web.Request) -> web.Response:
    """Answer `{"user": ..., "phrase": ..., "language": ...}` with `{"translation": ...}`."""
    asked = await read(request, "user", "phrase", "language")
    translation = await asyncio.to_thread(phrases.translate, asked["phrase"], asked["language"])
    return web.json_response({"translation": translation})


async def read(request: web.Request, *names: str) -> dict[str, str]:
    """Read a request's texts; 400 where one is missing."""
    try:
        asked = await request.json()
        return {name: str(asked[name]) for name in names}
    except (json.JSONDecodeError, KeyError, TypeError):
        words = json.dumps({"error": f"Send JSON with {', '.join(names)}."})
        raise web.HTTPBadRequest(text=words, content_type="application/json") from None
