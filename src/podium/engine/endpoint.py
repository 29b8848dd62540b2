"""Where a target is reached: everything that is the same for each request to it.

Theory. A snapshot never changes, so URL, headers, profile and codec of a target are worked out once for a snapshot and kept.
"""

from __future__ import annotations

from typing import Any

from podium.catalog.pricing import Found, PriceBook
from podium.catalog.profiles import profile
from podium.routing.snapshot import Provider
from podium.types import Profile, Secret, Target
from podium.wire.codec import Codec, codec

_SHORTEST_SECRET = 8
"""Anything shorter is a word like any other, and taking it out would garble messages."""


class Endpoint:
    """A target, ready to be asked."""

    __slots__ = ("_secrets", "base_url", "codec", "headers", "price", "profile", "provider", "target", "upstream")

    def __init__(self, provider: Provider, target: Target, key: Secret | None) -> None:
        entry = provider.models.get(target.model)
        self.target = target
        self.provider = provider
        self.upstream = entry.upstream if entry else target.model
        self.profile: Profile = profile(provider.kind, self.upstream)
        self.codec: Codec = codec(provider.dialect)
        self.price: tuple[PriceBook, Found | None] | None = None
        """What it charges by a price book, once that was looked up; None in it where no price is known."""
        self.base_url = provider.base_url.rstrip("/")
        self.headers: dict[str, str] = {"content-type": "application/json", "user-agent": "podium"}
        if key is not None:
            if provider.auth == "x-api-key":
                self.headers["x-api-key"] = key.reveal()
            else:
                self.headers["authorization"] = f"Bearer {key.reveal()}"
        self.headers |= {name.lower(): value.reveal() for name, value in provider.headers.items()}

        secrets = [value.reveal() for value in provider.headers.values()]
        secrets += [each.reveal() for each in (key, provider.api_key) if each is not None]
        self._secrets = tuple(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)

    def url(self, path: str) -> str:
        """The URL of a path; a version that ends the base URL and begins the path is said once."""
        version, slash, rest = path[1:].partition("/")
        if slash and self.base_url.endswith("/" + version):
            return f"{self.base_url}/{rest}"
        return self.base_url + path

    def scrub(self, words: Any) -> Any:
        """Take the key, and the values of the provider's own headers, out of what a provider sent back: text or JSON."""
        match words:
            case str():
                for secret in self._secrets:
                    words = words.replace(secret, "…")
                return words
            case dict():
                return {self.scrub(name): self.scrub(value) for name, value in words.items()}
            case list():
                return [self.scrub(value) for value in words]
            case _:
                return words
