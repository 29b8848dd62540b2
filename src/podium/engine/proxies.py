"""Which proxy stands between here and a provider.

Theory. The environment says: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case, as `urllib.request` reads them.
They are read when a transport is made; what holds for an address is worked out once.

Rules.
- An address on this machine is asked directly: no proxy knows what runs here (Go's `http.ProxyFromEnvironment` has it so too).
- A proxy that cannot be spoken to is an error. To go around it could be what it is there to prevent.
- A password for the proxy stands in its URL. `~/.netrc` is never read: a provider's key comes from the config and nowhere else.
"""

from __future__ import annotations

from base64 import b64encode
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from podium.errors import Unreachable


class Proxy(NamedTuple):
    """A proxy's address, without its password, and the header that holds it."""

    url: str
    headers: dict[str, str] | None


class Proxies:
    """The environment's proxies, as they were when this was made."""

    def __init__(self) -> None:
        self._table = {scheme: url for scheme, url in getproxies().items() if url and scheme != "no"}
        self._known: dict[str, Proxy | None] = {}

    def __bool__(self) -> bool:
        return bool(self._table)

    def of(self, url: str) -> Proxy | None:
        """Return the proxy for a URL, or None for a direct connection.

        Raises `Unreachable` where the environment names a proxy of a kind that cannot be used.
        """
        scheme, _, rest = url.partition("://")
        origin = f"{scheme}://{rest.split('/', 1)[0]}"
        if origin not in self._known:
            self._known[origin] = self._find(origin)
        return self._known[origin]

    def _find(self, origin: str) -> Proxy | None:
        parts = urlsplit(origin)
        written = self._table.get(parts.scheme) or self._table.get("all")
        if not written or is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
            return None
        proxy = urlsplit(written if "://" in written else f"http://{written}")
        if proxy.scheme not in ("http", "https") or not proxy.hostname:
            raise Unreachable(
                f"{origin} is behind a proxy of the environment that cannot be used (`{proxy.scheme}://`).",
                code="unusable_proxy",
                retryable=False,
                hint=f"Set {parts.scheme.upper()}_PROXY to an `http://` proxy, or add {parts.hostname} to NO_PROXY.",
            )
        headers = None
        if proxy.username is not None:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            headers = {"proxy-authorization": f"Basic {b64encode(pair.encode()).decode()}"}
        return Proxy(f"{proxy.scheme}://{proxy.netloc.rpartition('@')[2]}", headers)


def is_loopback(host: str) -> bool:
    """Return whether a host's name or number means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
