"""How bytes reach a provider and come back.

Theory. The engine knows a `Transport` that posts a body and gives a `Reply`; what speaks HTTP behind it can change. The one
here is aiohttp: a session a loop, no connection limit (limits are Podium's own business), proxies from the environment.

Rules.
- `post` returns when the status and headers are there, and raises only `Unreachable`, `TimedOut` and `ProtocolBroken`.
- A request is sent once. A connection from the pool that its server closes just then is an error like any other, for the
  strategy to retry: what was sent may have been read, and every upstream call is on record.
- A reply that is not read to its end is closed, and that closes the upstream connection, so that the provider stops.
- A session ends with its loop: it is registered with the loop's asynchronous generators, which `asyncio.run` shuts down.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Protocol
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from podium.engine.proxies import Proxies, Proxy
from podium.errors import PodiumError, ProtocolBroken, TimedOut, Unreachable

CONNECT_TIMEOUT_S = 10.0
_READ_SIZE = 2**16
_LARGE_BODY = 2**20
"""A larger body is sent in pieces, so that it does not hold the loop up; aiohttp warns of one that is not."""


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
        """Send, and return when the answer's headers are there. Raises `Unreachable`, `TimedOut` and `ProtocolBroken`."""
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


def _broken(error: Exception) -> PodiumError:
    if isinstance(error.__cause__, ContentEncodingError):
        return ProtocolBroken(
            "The answer's body is not packed as its content-encoding says.", hint="Check the provider's base_url."
        )
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
        self._proxies = Proxies()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
            trust_env=False,  # with it, aiohttp would look into ~/.netrc for each request; see `Proxies`
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
        data = body if len(body) <= _LARGE_BODY else io.BytesIO(body)
        proxy = self._proxies.of(url) if self._proxies else None
        try:
            if proxy is None:
                return AiohttpReply(await session.post(url, data=data, headers=headers, allow_redirects=False))
            return await self._post_through(proxy, session, url, headers, data)
        except (aiohttp.ConnectionTimeoutError, TimeoutError):
            raise TimedOut(
                f"No connection to {_origin(url)} within {self._connect_timeout_s:g} s.",
                code="connect_timeout",
                billable=False,
                hint="Check the provider's base_url and the network.",
            ) from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise _failed(error, _origin(url), proxy) from error

    @staticmethod
    async def _post_through(
        proxy: Proxy, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], data: bytes | io.BytesIO
    ) -> AiohttpReply:
        # An encrypted request goes through a tunnel that the proxy opens; another one the proxy reads itself, password and all.
        if proxy.headers is not None and not url.startswith("https:"):
            headers = {**headers, **proxy.headers}
        response = await session.post(
            url, data=data, headers=headers, allow_redirects=False, proxy=proxy.url, proxy_headers=proxy.headers
        )
        if response.status == 407:
            response.close()
            raise _refused(proxy, _origin(url), "407 Proxy Authentication Required")
        return AiohttpReply(response)

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


def _refused(proxy: Proxy, origin: str, answer: str) -> Unreachable:
    return Unreachable(
        f"The proxy {proxy.url} refused a connection to {origin}: {answer}.",
        code="proxy_refused",
        retryable=False,
        hint="Check the proxy's address and password in the environment, or add the host to NO_PROXY.",
    )


def _failed(error: Exception, origin: str, proxy: Proxy | None) -> PodiumError:
    """What kept a request from being answered, in words that say where to look."""
    again = "Ask again, or another target."
    match error:
        case aiohttp.InvalidURL():
            return Unreachable(f"{origin!r} is not a URL.", retryable=False, hint="Mend the provider's base_url.")
        case aiohttp.ClientConnectorCertificateError():
            return Unreachable(
                f"The certificate of {origin} is not trusted: {_reason(error.certificate_error)}.",
                code="untrusted_certificate",
                retryable=False,
                hint="Check the base_url; a certificate authority of your own is named by the variable SSL_CERT_FILE.",
            )
        case aiohttp.ClientHttpProxyError() if proxy is not None:
            return _refused(proxy, origin, f"{error.status} {error.message}".strip())
        case aiohttp.ClientProxyConnectionError() if proxy is not None:
            return Unreachable(
                f"No connection to the proxy {proxy.url}, through which {origin} is reached: {_reason(error.os_error)}.",
                hint="Check the proxy in the environment, or add the host to NO_PROXY.",
            )
        case aiohttp.ClientSSLError():
            return Unreachable(
                f"No encrypted connection to {origin}: {_reason(error.os_error)}.",
                retryable=False,
                hint="Check the provider's base_url: is it `http://` that is spoken there?",
            )
        case aiohttp.ClientConnectorError():
            return Unreachable(
                f"No connection to {origin}: {_reason(error.os_error)}.",
                hint="Check the provider's base_url, and that it runs.",
            )
        case aiohttp.ClientResponseError():
            return ProtocolBroken(
                f"{origin} gave an answer that cannot be read as HTTP: {_first_line(error.message)}.",
                hint="Check the provider's base_url, or use another target.",
            )
        case _:
            return Unreachable(f"The connection to {origin} broke before an answer ({type(error).__name__}).", hint=again)


def _first_line(text: str) -> str:
    """What a parser says before it shows the octets that it stumbled over."""
    line = text.strip().partition("\n")[0]
    return line[:200].strip(" .:").lower() or "no reason is known"


def _reason(error: Exception) -> str:
    """The system's own word for a failure, without the noise of numbers and tuples."""
    verdict = getattr(error, "verify_message", "") or getattr(error, "reason", "")
    if verdict:
        return str(verdict).replace("_", " ").lower()
    if isinstance(error, OSError):
        if error.errno is not None and error.errno > 0:
            return os.strerror(error.errno)
        return error.strerror or str(error)
    return str(error)
