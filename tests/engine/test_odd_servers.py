"""Servers that no simulated provider is: what they send is answered with the right error, or read all the same."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from podium import Models, config
from podium.engine.attempt import Patience
from podium.errors import Overloaded, PodiumError, ProtocolBroken, Throttled, TimedOut, Unreachable
from podium.types import Result
from waiting import until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Ask = Callable[[Models], Awaitable[Result]]
Listen = Callable[..., Awaitable["Server"]]

WHOLE = json.dumps(
    {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "Hello."}, "finish_reason": "stop"}]}
).encode()


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return (
        b"data: "
        + json.dumps({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode()
        + b"\n\n"
    )


STREAM = chunk({"role": "assistant", "content": ""}) + chunk({"content": "Hello."}) + chunk({}, "stop") + b"data: [DONE]\n\n"


def answer(body: bytes, *, status: str = "200 OK", kind: str = "application/json", more: str = "", whole: bool = True) -> bytes:
    length = f"content-length: {len(body)}\r\n" if whole else ""
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}{length}\r\n".encode() + body


class Server:
    """Answers each request by one of its replies, the last one again and again; what is None closes the connection."""

    def __init__(self, replies: tuple[bytes | Serve | None, ...], *, keeps: bool) -> None:
        self.replies = list(replies)
        self.keeps = keeps
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while await self._reply(reader, writer) and self.keeps:
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        self.requests.append(await reader.readexactly(length))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply is None:
            return False
        if isinstance(reply, bytes):
            writer.write(reply)
            await writer.drain()
        else:
            await reply(reader, writer)
        return True

    def models(self, *, retries: int = 0, patience: Patience | None = None, **provider: Any) -> Models:
        written = {
            "providers": {"house": {"base_url": f"http://127.0.0.1:{self.port}/v1", **provider}},
            "tiers": {"t": {"models": ["house/m"], "retries": retries}},
            "default_tier": "t",
        }
        return Models(config.compile_config(written, source="the test"), patience=patience)


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    servers: list[asyncio.Server] = []

    async def one(*replies: bytes | Serve | None, keeps: bool = True) -> Server:
        server = Server(replies, keeps=keeps)
        servers.append(await asyncio.start_server(server.serve, "127.0.0.1", 0))
        server.port = servers[-1].sockets[0].getsockname()[1]
        return server

    yield one
    for each in servers:
        each.close()


async def whole(models: Models) -> Result:
    return await models.generate_text(prompt="Hello!")


async def streamed(models: Models) -> Result:
    return await models.stream_text(prompt="Hello!").result()


async def byte_by_byte(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for byte in STREAM:
        writer.write(b"1\r\n%c\r\n" % byte)
        await writer.drain()
    writer.write(b"0\r\n\r\n")


READABLE: dict[str, bytes | Serve] = {
    "a whole answer": answer(WHOLE),
    "a stream": answer(STREAM, kind="text/event-stream"),
    "a whole answer that says it is a stream": answer(WHOLE, kind="text/event-stream"),
    "a stream that says it is a whole answer": answer(STREAM),
    "a charset and odd case": answer(WHOLE, kind="Application/JSON; charset=UTF-8").replace(
        b"content-length", b"cONTENT-lENGTH"
    ),
    "no useful content type": answer(STREAM, kind="application/octet-stream"),
    "gzip": answer(gzip.compress(WHOLE), more="content-encoding: gzip\r\n"),
    "a gzipped stream": answer(gzip.compress(STREAM), kind="text/event-stream", more="content-encoding: gzip\r\n"),
    "one byte a chunk": byte_by_byte,
}


@pytest.mark.parametrize("ask", [whole, streamed])
@pytest.mark.parametrize("name", READABLE)
async def test_what_can_be_read_is_read_whatever_it_says_it_is(listen: Listen, name: str, ask: Ask) -> None:
    async with (await listen(READABLE[name])).models() as models:
        assert (await ask(models)).text == "Hello."


PAGE = b"<html><head><title>Sign in</title></head></html>"
BROKEN: dict[str, tuple[bytes | None, type[PodiumError], str]] = {
    "an error with status 200": (answer(b'{"error": {"message": "No room.", "code": 503}}'), Overloaded, "No room."),
    "a web page": (answer(PAGE, kind="text/html"), ProtocolBroken, "web page. Check that the provider's base_url"),
    "nothing": (answer(b""), ProtocolBroken, "not JSON"),
    "an empty stream": (answer(b"", kind="text/event-stream"), ProtocolBroken, ""),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", ProtocolBroken, "HTTP 204"),
    "a redirect": (b"HTTP/1.1 302 Found\r\nlocation: /v2\r\ncontent-length: 0\r\n\r\n", ProtocolBroken, "redirect"),
    "what is not gzip": (answer(b"plain", more="content-encoding: gzip\r\n"), ProtocolBroken, "content-encoding"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.0\r\n", ProtocolBroken, "cannot be read as HTTP: bad status line. Check"),
    "a broken header": (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", ProtocolBroken, "cannot be read as HTTP"),
    "a closed connection": (None, Unreachable, "broke before an answer"),
    "half a body": (answer(WHOLE)[:-20], Unreachable, "broke in the middle"),
    "half a stream": (answer(STREAM, kind="text/event-stream", whole=False)[:-90], ProtocolBroken, ""),
}


@pytest.mark.parametrize("ask", [whole, streamed])
@pytest.mark.parametrize("name", BROKEN)
async def test_what_cannot_be_read_is_an_error_that_says_where_to_look(listen: Listen, name: str, ask: Ask) -> None:
    reply, kind, words = BROKEN[name]
    server = await listen(reply, keeps=False)
    async with server.models() as models:
        with pytest.raises(kind) as caught:
            await ask(models)
    assert words in str(caught.value)
    assert "house/m" in str(caught.value)
    assert caught.value.hint
    assert [attempt.outcome for attempt in caught.value.attempts] == ["failed"]
    assert len(server.requests) == 1


async def test_a_body_of_megabytes_goes_and_comes_without_a_warning(listen: Listen) -> None:
    long = json.dumps(
        {"id": "c", "choices": [{"index": 0, "message": {"content": "x" * 8_000_000}, "finish_reason": "stop"}]}
    ).encode()
    server = await listen(answer(long))
    async with server.models() as models:
        assert len((await models.generate_text(prompt="y" * 3_000_000)).text) == 8_000_000
    assert len(server.requests[0]) > 3_000_000


async def test_a_pooled_connection_that_its_server_closed_is_not_used_again(listen: Listen) -> None:
    closing = await listen(answer(WHOLE), keeps=False)
    async with closing.models() as models:
        for _ in range(5):
            assert [attempt.outcome for attempt in (await whole(models)).attempts] == ["won"]
            await asyncio.sleep(0.01)
    assert closing.connections == 5


async def test_a_connection_that_closes_under_a_request_is_an_attempt_on_record_and_retried(listen: Listen) -> None:
    server = await listen(answer(WHOLE), None, answer(WHOLE))
    async with server.models(retries=1) as models:
        await whole(models)
        assert [attempt.outcome for attempt in (await whole(models)).attempts] == ["failed", "won"]


async def test_every_form_of_retry_after_is_waited_for(listen: Listen) -> None:
    async def waited_s(headers: str) -> float:
        refusal = answer(b'{"error": {"message": "Slow down."}}', status="429 X", more=headers)
        async with (await listen(refusal, answer(WHOLE))).models(retries=1) as models:
            return (await whole(models)).attempts[1].started_s

    milliseconds, seconds, date, date_alone = await asyncio.gather(
        waited_s("retry-after-ms: 300\r\nretry-after: 9\r\n"),
        waited_s("Retry-After: 1\r\n"),
        waited_s("retry-after: Mon, 23 Nov 2026 10:00:01 GMT\r\ndate: Mon, 23 Nov 2026 10:00:00 GMT\r\n"),
        waited_s(f"retry-after: {formatdate(time() + 2, usegmt=True)}\r\n"),
    )
    assert 0.3 <= milliseconds < 1.0
    assert 1.0 <= seconds < 2.0
    assert 1.0 <= date < 2.0
    assert 0.9 <= date_alone < 3.0


async def test_a_target_that_asked_for_an_hour_fails_each_request_at_once_without_being_asked_again(listen: Listen) -> None:
    server = await listen(answer(b'{"error": {"message": "Slow down."}}', status="429 X", more="retry-after: 7200\r\n"))
    async with server.models(retries=2) as models:
        for _ in range(2):
            with pytest.raises(Throttled) as caught:
                await models.generate_text(prompt="Hello!", timeout="5s")
            assert (caught.value.retry_after_s or 0) > 3000
    assert len(server.requests) == 1


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()  # until the client leaves


def dripping(first: bytes, drop: bytes) -> Serve:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while not reader.at_eof():
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(drop)

    return drip


EVENTS = answer(b"", kind="text/event-stream", whole=False)
SILENT: dict[str, tuple[Serve, str]] = {
    "nothing at all": (hang, "first_event_timeout"),
    "headers, byte by byte": (dripping(b"HTTP/1.1 200 OK\r\nx: ", b"x"), "first_event_timeout"),
    "headers and nothing more": (dripping(EVENTS, b""), "first_event_timeout"),
    "comments": (dripping(EVENTS, b": still here\n\n"), "first_content_timeout"),
    "a role and nothing to say": (dripping(EVENTS, chunk({"role": "assistant", "content": ""})), "first_content_timeout"),
    "an event, byte by byte": (dripping(EVENTS + b"data: ", b" "), "first_content_timeout"),
    "silence after a word": (dripping(EVENTS + chunk({"content": "He"}), b""), "stalled"),
}


@pytest.mark.parametrize("name", SILENT)
async def test_each_kind_of_silence_ends_with_its_own_timeout_and_a_closed_connection(listen: Listen, name: str) -> None:
    serve, code = SILENT[name]
    server = await listen(serve)
    async with server.models(patience=Patience(first_event_s=0.12, first_content_s=0.2, stall_s=0.15)) as models:
        with pytest.raises(TimedOut) as caught:
            await streamed(models)
        assert caught.value.code == code
        await until(lambda: not server.open)


async def test_the_whole_time_and_a_providers_own_bound_an_answer_that_never_comes(listen: Listen) -> None:
    for of_the_call, of_the_provider in (("150ms", None), (None, "150ms")):
        async with (await listen(hang)).models(timeout=of_the_provider) as models:
            with pytest.raises(TimedOut, match=r"0\.1"):
                await models.generate_text(prompt="Hello!", timeout=of_the_call)
