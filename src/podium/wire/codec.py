"""What a dialect's codec must do, and the table of codecs.

Theory. One module a dialect turns bytes into values and back, both as a client (it dumps requests, loads responses, reads
streams, loads errors) and as a server (it loads requests, dumps responses, writes streams, dumps errors). N dialects cost N
codecs, since everything meets in `podium.types`.

Rules.
- Pure: no I/O, no clock, no randomness. What must be made up (an id, a time) comes from the values or is derived from them.
- Within one dialect nothing changes: `dump_request(load_request(body))` is JSON-equal to `body`, whatever fields it has.
- Every leaf of a JSON document that is read ends in a typed field, in `extra`, or in an `Opaque`.
- A setting that the target cannot honour becomes a `Loss`, or `UnrepresentableError` with `request.strict`. Content that
  cannot be represented is always `UnrepresentableError`. Nothing is dropped in silence.
- A reader gives the same events however the bytes are split. After its terminal event it gives nothing more. An end of bytes
  without a terminal event is `Failed(ProtocolBroken)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Protocol, cast

import msgspec

from podium.errors import PodiumError, ProviderError
from podium.types import Event, Loss, PartStart, Profile, Request, Response, ToolCall, Usage, Value


class Dumped(Value, frozen=True, kw_only=True):
    """A request in a dialect, ready to be sent."""

    body: bytes
    path: str
    """Below the provider's `base_url`, as `/chat/completions`."""
    headers: dict[str, str] = {}
    """What the dialect itself needs (`anthropic-version`, ...); the key is not the codec's business."""
    losses: tuple[Loss, ...] = ()
    aliases: dict[str, str] = {}
    """Tool names that the dialect does not take and that were rewritten: alias -> the caller's name. Whoever reads the answer
    passes each event through `restore_names`."""


class Reader(Protocol):
    """Reads one streamed answer, on the client's side."""

    @property
    def usage(self) -> Usage | None:
        """What the provider has said of its counts so far, however the answer ends; None: nothing."""
        ...

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes, split anywhere, and return the events that they complete."""
        ...

    def close(self) -> list[Event]:
        """Say that no more bytes come; return what that completes: `Failed`, if the answer had not ended."""
        ...


class Writer(Protocol):
    """Writes one streamed answer, on the server's side."""

    def send(self, event: Event) -> bytes:
        """Return the bytes that say this event; a `Failed` becomes the dialect's error event and no success terminator."""
        ...


class Codec(Protocol):
    """One dialect, both ways."""

    name: str
    """`openai_chat`, `anthropic`, ...: the key in `extra` and in the table below."""

    def dump_request(self, request: Request, profile: Profile = ...) -> Dumped:
        """Write a request for a provider. `request.model` is the upstream name. Raises `UnrepresentableError`."""
        ...

    def load_response(self, body: bytes) -> tuple[Event, ...]:
        """Read a whole answer. Raises `ProtocolBroken`, or the `ProviderError` that a body with status 200 carries."""
        ...

    def reader(self) -> Reader:
        """Begin to read a streamed answer."""
        ...

    def load_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """Read an answer with an error status, whatever its body is. `headers` has lower-case names."""
        ...

    def load_request(self, body: bytes) -> Request:
        """Read a client's request. Raises `RequestError` with the faulty `param`."""
        ...

    def dump_response(self, response: Response, request: Request | None = None) -> bytes:
        """Write a whole answer for a client, to its request where that is known (it may say which form it wants)."""
        ...

    def writer(self, request: Request) -> Writer:
        """Begin to write a streamed answer to a client's request (which says whether usage is wanted, ...)."""
        ...

    def dump_error(self, error: PodiumError) -> tuple[int, dict[str, str], bytes]:
        """Write an error for a client: status, headers (`retry-after`, ...) and body."""
        ...


def restore_names(event: Event, aliases: Mapping[str, str]) -> Event:
    """Give a tool call in an answer's event the name that the caller gave the tool; other events pass unchanged."""
    if aliases and isinstance(event, PartStart) and isinstance(event.part, ToolCall) and event.part.name in aliases:
        return PartStart(
            index=event.index,
            choice=event.choice,
            part=msgspec.structs.replace(event.part, name=aliases[event.part.name]),
        )
    return event


_MODULES = {
    "openai_chat": "podium.wire.openai_chat",
    "anthropic": "podium.wire.anthropic",
}

DIALECTS = tuple(_MODULES)
"""The names of all dialects."""


@cache
def codec(dialect: str) -> Codec:
    """Return the codec of a dialect; its module is imported when first asked for.

    Raises `KeyError` for a name that is not in `DIALECTS`.
    """
    return cast(Codec, import_module(_MODULES[dialect]).CODEC)
