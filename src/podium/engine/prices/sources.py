"""Where prices are fetched from: the bundled data, its online update, OpenRouter's list, and any URL or file of the user's.

Theory. A source is asked, and gives a `Reading` or one sentence why it could not; what it says is judged row by row elsewhere.
Nothing that a source does may hang or exhaust the program.

Rules.
- A URL has 30 seconds for everything, at most 64 MiB once decompressed, and five redirects; only http and https are asked.
- A message shows of a URL its origin and path: a query or user name may hold a secret.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp

from podium.catalog.price_import import parse, read
from podium.catalog.price_reading import Reading
from podium.catalog.price_sheet import NotPrices
from podium.engine.prices.bundle import bundled_source, read_bundled

GENAI_URL = "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"
OPENROUTER_URL = "https://openrouter.ai/api/v1/models"

PATIENCE_S = 30.0
LARGEST = 64 * 2**20
_MOST_REDIRECTS = 5
_READ_SIZE = 2**18

BUILT_IN = ("openrouter", "genai-prices", "bundled")
"""The sources that need no address, the first with the highest precedence; the user's own come before them."""


class Source(NamedTuple):
    """One place to ask."""

    name: str
    """As it stands in a row's `source`; the bundled data's has its version."""
    address: str | None
    """A URL or a path; None: the bundled data."""
    rank: int
    """0 for the user's own, then as in `BUILT_IN`."""

    @property
    def is_url(self) -> bool:
        """Whether it is asked over HTTP."""
        return self.address is not None and self.address.lower().startswith(("http://", "https://"))


def find_sources(
    named: tuple[str, ...] = (), addresses: dict[str, str] | None = None, *, only: bool = False
) -> tuple[Source, ...]:
    """Return the sources to ask, the highest precedence first.

    `named` are names out of `BUILT_IN`, URLs and paths. The user's own come first, in the order given; then the built-in ones
    that are named, or all where none is (`only`: none). `addresses` stand in for the built-in URLs.
    """
    where = {"openrouter": OPENROUTER_URL, "genai-prices": GENAI_URL} | (addresses or {})
    own = [Source(_shown(name), name, 0) for name in dict.fromkeys(named) if name not in BUILT_IN]
    chosen = [name for name in BUILT_IN if name in named] or ([] if only else list(BUILT_IN))
    built_in = [
        Source(bundled_source() if name == "bundled" else name, where.get(name), BUILT_IN.index(name) + 1) for name in chosen
    ]
    return (*own, *built_in)


def _shown(address: str) -> str:
    """An address without what may be secret in it."""
    if not address.lower().startswith(("http://", "https://")):
        return address
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Unanswered(Exception):
    """A source gave nothing that can be used; the message says why."""


async def ask(
    source: Source, session: aiohttp.ClientSession, updated_at: str, *, patience_s: float = PATIENCE_S, largest: int = LARGEST
) -> Reading:
    """Ask a source. Raises `Unanswered`."""
    if source.address is None:
        return await asyncio.to_thread(read_bundled)
    if source.is_url:
        data = await _get(source.address, session, patience_s, largest)
    else:
        data = await asyncio.to_thread(_read_file, Path(source.address), largest)
    try:
        reading = await asyncio.to_thread(lambda: read(parse(data), source.name, updated_at))
    except NotPrices as error:
        raise Unanswered(str(error)) from None
    if not reading.rows:
        first = next(iter(reading.refused.items()), None)
        raise Unanswered("it has no usable row" + (f" ({first[0]}: {first[1]})" if first else ""))
    return reading


def open_session() -> aiohttp.ClientSession:
    """Open the session that all sources are asked through; the caller closes it."""
    return aiohttp.ClientSession(
        trust_env=bool(getproxies()),
        headers={"accept": "application/json", "user-agent": "podium"},
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def _get(url: str, session: aiohttp.ClientSession, patience_s: float, largest: int) -> bytes:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=patience_s), max_redirects=_MOST_REDIRECTS) as response:
            if response.status != 200:
                raise Unanswered(f"it answered with status {response.status}")
            data = bytearray()
            async for chunk in response.content.iter_chunked(_READ_SIZE):
                data += chunk
                if len(data) > largest:
                    raise Unanswered(f"it is larger than {largest // 2**20} MiB")
            return bytes(data)
    except TimeoutError:
        raise Unanswered(f"it did not answer within {patience_s:g} s") from None
    except aiohttp.InvalidURL:
        raise Unanswered("its address is no URL") from None
    except aiohttp.TooManyRedirects:
        raise Unanswered(f"it redirects more than {_MOST_REDIRECTS} times") from None
    except aiohttp.ClientConnectorError as error:
        raise Unanswered(f"no connection ({error.os_error.strerror or error.os_error})") from None
    except (aiohttp.ClientError, ConnectionError) as error:
        raise Unanswered(f"the connection broke ({type(error).__name__})") from None


def _read_file(path: Path, largest: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise Unanswered(error.strerror or type(error).__name__) from None
    if len(data) > largest:
        raise Unanswered(f"it is larger than {largest // 2**20} MiB")
    return data
