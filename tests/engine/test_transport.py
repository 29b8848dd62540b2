"""The contract of a transport, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from podium.engine.transport import AiohttpTransport, Reply
from podium.errors import ProviderError, TimedOut, Unreachable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def transport(**settings: float) -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport(**settings)
    try:
        yield made
    finally:
        await made.close()


async def read_all(reply: Reply) -> list[bytes]:
    return [data async for data in reply.chunks()]


async def test_a_reply_has_status_headers_and_body() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 418 x\r\nX-Thing: a\r\ncontent-length: 2\r\n\r\nhi")
        await writer.drain()

    async with serving(serve) as url, transport() as client:
        reply = await client.post(url, {"content-type": "application/json"}, b"{}")
        assert (reply.status, reply.headers["x-thing"], await reply.read()) == (418, "a", b"hi")
        reply.close()


async def test_chunks_come_as_they_are_sent() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        for piece in (b"one", b"two"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(serve) as url, transport() as client:
        reply = await client.post(url, {}, b"")
        assert [data async for data in reply.chunks()] == [b"one", b"two"]
        reply.close()


async def test_closing_an_unread_reply_closes_the_upstream_connection_at_once() -> None:
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nbegun")
        await writer.drain()
        await reader.read()
        left.set()

    async with serving(serve) as url, transport() as client:
        reply = await client.post(url, {}, b"")
        reply.close()
        await asyncio.wait_for(left.wait(), 2)


async def test_cancelling_before_the_headers_closes_the_upstream_connection() -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        left.set()

    async with serving(serve) as url, transport() as client:
        task = asyncio.create_task(client.post(url, {}, b""))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(left.wait(), 2)


async def test_nobody_listening_is_unreachable_and_says_where() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with transport() as client:
        with pytest.raises(Unreachable, match=rf"No connection to http://127.0.0.1:{port}") as caught:
            await client.post(f"http://127.0.0.1:{port}/v1/secret-path", {}, b"")
    assert "secret" not in str(caught.value)
    assert not caught.value.billable


async def test_no_connection_in_time_is_a_timeout() -> None:
    # A listener whose queue is full lets further connections wait.
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with transport(connect_timeout_s=0.05) as client:
            with pytest.raises(TimedOut) as caught:
                await client.post(f"http://127.0.0.1:{full.getsockname()[1]}", {}, b"")
    assert caught.value.code == "connect_timeout"


async def test_a_connection_that_breaks_before_the_answer_is_unreachable() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(serve) as url, transport() as client:
        with pytest.raises(Unreachable, match="broke before an answer"):
            await client.post(url, {}, b"")


@pytest.mark.parametrize("whole", [True, False])
async def test_a_connection_that_breaks_in_mid_answer_is_unreachable_and_may_cost(whole: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun")
        await writer.drain()

    async with serving(serve) as url, transport() as client:
        reply = await client.post(url, {}, b"")
        with pytest.raises(Unreachable, match="middle of the answer") as caught:
            await (reply.read() if whole else read_all(reply))
        reply.close()
    assert caught.value.billable


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://[", "ftp://127.0.0.1/", "http://127.0.0.1:99999/"])
async def test_an_impossible_url_is_an_error_that_says_what_to_mend(url: str) -> None:
    async with transport() as client:
        with pytest.raises(ProviderError):
            await client.post(url, {}, b"")


def test_one_transport_serves_several_loops_and_leaves_nothing_open() -> None:
    client = AiohttpTransport()

    async def ask() -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
            await writer.drain()

        async with serving(serve) as url:
            reply = await client.post(url, {}, b"")
            await reply.read()
            reply.close()
            return reply.status

    assert [asyncio.run(ask()) for _ in range(3)] == [200, 200, 200]
