"""How bytes reach a provider and come back.

Theory. The engine knows a `Transport` that posts a body and gives a `Reply`; what speaks HTTP behind it can change. The one
here is aiohttp: a session a loop, no connection limit (limits are Podium's own business), proxies from the environment.

Rules.
- `post` returns when the status and headers are there, and raises only `Unreachable` and `TimedOut`.
- A reply that is not read to its end is closed, and that closes the upstream connection, so that the provider stops.
- A session ends with its loop: it is registered with the loop's asynchronous generators, which `asyncio.run` shuts down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Protocol
from urllib.request import getproxies
from weakref import WeakKeyDictionary

import aiohttp

from podium.errors import TimedOut, Unreachable

CONNECT_TIMEOUT_S = 10.0
_READ_SIZE = 2**16


class Reply(Protocol):
    """A provider's answer: its status and headers, and its body when asked for."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, found by any case of their names."""
        ...

    async def read(self) -> bytes:
        """Read the whole body. Raises `Unreachable`."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Read the body as it comes. Raises `Unreachable`."""
        ...

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it."""
        ...


class Transport(Protocol):
    """Posts a body to a URL."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send, and return when the answer's headers are there. Raises `Unreachable` and `TimedOut`."""
        ...

    async def close(self) -> None:
        """Close the connections of the running loop."""
        ...


class AiohttpReply:
    """An aiohttp response as a `Reply`."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """Read the whole body."""
        try:
            return await self._response.read()
        except (aiohttp.ClientError, ConnectionError) as error:
            raise _broken(error) from error

    async def chunks(self) -> AsyncIterator[bytes]:
        """Read the body as it comes."""
        content = self._response.content
        try:
            while data := await content.readany():
                yield data
        except (aiohttp.ClientError, ConnectionError) as error:
            raise _broken(error) from error

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


def _broken(error: Exception) -> Unreachable:
    return Unreachable(
        f"The connection broke in the middle of the answer ({type(error).__name__}).",
        code="connection_broken",
        billable=True,
        hint="Ask again, or another target.",
    )


class AiohttpTransport:
    """A `Transport` over aiohttp, usable from several loops at once."""

    def __init__(self, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()
        self._keepers: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = WeakKeyDictionary()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
            # Looking for a proxy costs a few microseconds a request: only where the environment has one.
            trust_env=bool(getproxies()),
            auto_decompress=True,
            read_bufsize=_READ_SIZE,
        )
        self._sessions[loop] = session
        self._keepers[loop] = keeper = _keep(session)
        await anext(keeper)
        return session

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> AiohttpReply:
        """Send, and return when the answer's headers are there."""
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            session = await self._open(loop)
        try:
            return AiohttpReply(await session.post(url, data=body, headers=headers, allow_redirects=False))
        except aiohttp.InvalidURL:
            raise Unreachable(f"{url!r} is not a URL.", retryable=False, hint="Mend the provider's base_url.") from None
        except (aiohttp.ConnectionTimeoutError, TimeoutError):
            raise TimedOut(
                f"No connection to {_origin(url)} within {self._connect_timeout_s:g} s.",
                code="connect_timeout",
                billable=False,
                hint="Check the provider's base_url and the network.",
            ) from None
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(
                f"No connection to {_origin(url)}: {error.os_error.strerror or error.os_error}.",
                hint="Check the provider's base_url, and that it runs.",
            ) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Unreachable(
                f"The connection to {_origin(url)} broke before an answer ({type(error).__name__}).",
                hint="Ask again, or another target.",
            ) from error

    async def close(self) -> None:
        """Close the connections of the running loop."""
        keeper = self._keepers.pop(asyncio.get_running_loop(), None)
        if keeper is not None:
            await keeper.aclose()


async def _keep(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    """Hold a session until this generator is closed, at the latest by the end of its loop."""
    try:
        yield
    finally:
        await session.close()


def _origin(url: str) -> str:
    """Scheme, host and port: what a message may show of a URL (a path or query may hold a secret)."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.split('/', 1)[0].rpartition('@')[2]}"
