"""A script given over a connection, in its time and with its faults.

Theory. The k-th token is due at `first + k / tokens_per_s`; the giver sleeps until the next is due and then writes all that
are, so that a late loop catches up instead of lagging. Nothing polls: a client's leaving cancels the sleep or the write.

Rules.
- Hidden thoughts take their time before the first token, and their tokens count as sent with it.
- A fault in mid-answer strikes before the first token beyond its count, and before the end of a shorter answer.
- An exchange is closed before the connection is cut, so that a cut of the sim's own is never taken for a client's leaving.
"""

from __future__ import annotations

import asyncio
import time
from typing import NoReturn

from aiohttp import web

from podium.errors import Overloaded
from podium.sim import chance
from podium.sim.complaints import of_status
from podium.sim.model import SimModel
from podium.sim.script import Script, finished, play, respond
from podium.sim.stats import Book, Exchange, Outcome
from podium.types import Failed, Request
from podium.wire.codec import codec

_MID_ANSWER = ("stall_after", "break_after", "malformed_after", "error_after")
_FLUSH_BYTES = 32_768
"""How much is written together where nothing has to wait."""

_GARBAGE = {
    "openai_chat": b'data: {"id":"chatcmpl-","choices":[{"delta":{"content":"\xff\xfe\n\ndata: }{\n\n',
    "anthropic": b'event: content_block_delta\ndata: {"type":"content_block_delta","index":\n\n',
}

_NOT_THE_DIALECT = b'{"status":"ok","result":{"message":"This is JSON, and no answer."}}'


class Performance:
    """One answer being given."""

    def __init__(
        self,
        *,
        request: web.Request,
        exchange: Exchange,
        settings: SimModel,
        script: Script,
        asked: Request,
        keys: tuple[object, ...],
        book: Book,
    ) -> None:
        self._request = request
        self._exchange = exchange
        self._settings = settings
        self._script = script
        self._asked = asked
        self._book = book
        latency = chance.lognormal(settings.latency_s, settings.latency_sigma, "latency", *keys)
        hidden = script.hidden / settings.tokens_per_s if settings.tokens_per_s else 0.0
        self._first_at = exchange.started_at + latency + hidden
        strikes = chance.happens(settings.fault_rate, "fault", *keys)
        self._faults = settings if strikes else SimModel()

    async def give(self, headers: dict[str, str]) -> web.StreamResponse:
        """Give the answer, streamed or whole, and close the exchange."""
        if self._faults.hang:
            self._exchange.fault = "hang"
            await self._silence()
        if self._faults.wrong_json:
            await self._until(self._first_at)
            self._exchange.fault, self._exchange.status = "wrong_json", 200
            self._close("broken")
            return web.Response(body=_NOT_THE_DIALECT, headers={**headers, "content-type": "application/json"})
        if self._faults.empty:
            self._exchange.fault = "empty"
        return await (self._give_stream(headers) if self._asked.stream else self._give_whole(headers))

    # --- Streamed ----------------------------------------------------------------------------------------------------

    async def _give_stream(self, headers: dict[str, str]) -> web.StreamResponse:
        writer = codec(self._exchange.dialect).writer(self._asked)
        response = web.StreamResponse(
            headers={**headers, "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        )
        await self._until(self._first_at)
        await response.prepare(self._request)
        self._exchange.status = 200
        fault, strikes_at = self._mid_answer()
        speed = self._settings.tokens_per_s
        waiting, told, sent = bytearray(), self._script.hidden, 0
        for beat in play(self._script):
            if beat.tokens:
                if fault is not None and sent >= strikes_at:
                    break
                if speed and (due := self._first_at + sent / speed) > time.monotonic():
                    await self._flush(response, waiting, told)
                    waiting, told = bytearray(), 0
                    await self._until(due)
            waiting += writer.send(beat.event)
            sent += beat.tokens
            told += beat.tokens
            if len(waiting) > _FLUSH_BYTES:
                await self._flush(response, waiting, told)
                waiting, told = bytearray(), 0
        if fault is not None:
            await self._flush(response, waiting, told)
            return await self._strike(response, fault, writer.send(Failed(error=_overload())))
        waiting += writer.send(finished(self._script))
        await self._flush(response, waiting, told)
        self._close("finished")
        await response.write_eof()
        return response

    async def _flush(self, response: web.StreamResponse, waiting: bytearray, told: int) -> None:
        if not waiting:
            return
        await response.write(bytes(waiting))
        self._exchange.tokens += told
        if self._exchange.first_token_s is None and self._exchange.tokens:
            self._exchange.first_token_s = time.monotonic() - self._exchange.started_at

    def _mid_answer(self) -> tuple[str | None, int]:
        for fault in _MID_ANSWER:
            count: int | None = getattr(self._faults, fault)
            if count is not None:
                return fault, count
        return None, 0

    async def _strike(self, response: web.StreamResponse, fault: str, error: bytes) -> web.StreamResponse:
        self._exchange.fault = fault
        if fault == "stall_after":
            await self._silence()
        if fault == "malformed_after":
            await response.write(_GARBAGE[self._exchange.dialect])
        elif fault == "error_after":
            await response.write(error)
        self._close("broken")
        if fault == "break_after":
            self._cut()
            await self._silence()
        await response.write_eof()
        return response

    # --- Whole -------------------------------------------------------------------------------------------------------

    async def _give_whole(self, headers: dict[str, str]) -> web.StreamResponse:
        fault, _ = self._mid_answer()
        if fault == "error_after":
            await self._until(self._first_at)
            self._exchange.fault = fault
            raise of_status(529 if self._exchange.dialect == "anthropic" else 503, self._exchange.dialect, self._asked.model)
        sent = sum(beat.tokens for beat in play(self._script))
        speed = self._settings.tokens_per_s
        await self._until(self._first_at + (max(0, sent - 1) / speed if speed else 0.0))
        content = codec(self._exchange.dialect).dump_response(respond(self._script, self._exchange.dialect), self._asked)
        headers = {**headers, "content-type": "application/json"}
        self._exchange.status = 200
        if fault == "malformed_after":
            self._exchange.fault = fault
            self._close("broken")
            return web.Response(body=content[: len(content) // 2] + b"}{", headers=headers)
        if fault is not None:
            response = web.StreamResponse(headers={**headers, "content-length": str(len(content))})
            await response.prepare(self._request)
            await response.write(content[: len(content) // 2])
            return await self._strike(response, fault, b"")
        self._exchange.tokens = sent + self._script.hidden
        self._exchange.first_token_s = time.monotonic() - self._exchange.started_at
        self._close("finished")
        return web.Response(body=content, headers=headers)

    # --- Time and ends -----------------------------------------------------------------------------------------------

    async def _until(self, at: float) -> None:
        if (left := at - time.monotonic()) > 0:
            await asyncio.sleep(left)

    async def _silence(self) -> NoReturn:
        """Say nothing until the client leaves or the sim is closed."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nothing ends a silence but a cancel")

    def _cut(self) -> None:
        """Close the connection without the answer's end."""
        if self._request.transport is not None:
            self._request.transport.close()

    def _close(self, outcome: Outcome) -> None:
        self._book.close(self._exchange, outcome, time.monotonic())


def _overload() -> Overloaded:
    return Overloaded("Overloaded", status=529)
