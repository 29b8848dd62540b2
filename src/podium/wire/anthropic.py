"""Anthropic's Messages API, both ways: https://platform.claude.com/docs/en/api/messages

Theory. Blocks (`anthropic_blocks`) are the common ground; requests, whole answers, streams and errors each have a module beside
this one, and this one is the codec that they make together.
"""

from __future__ import annotations

from collections.abc import Mapping

from podium.errors import PodiumError, ProviderError
from podium.types import Event, Profile, Request, Response
from podium.wire.anthropic_blocks import NAME
from podium.wire.anthropic_errors import dump_error, load_error
from podium.wire.anthropic_request import dump_request, load_request
from podium.wire.anthropic_response import dump_response, load_response
from podium.wire.anthropic_stream import Reader
from podium.wire.anthropic_writer import Writer
from podium.wire.codec import Codec, Dumped

_ANY_MODEL = Profile()


class Anthropic:
    """The codec of Anthropic's dialect; see `podium.wire.codec.Codec`."""

    name = NAME

    def dump_request(self, request: Request, profile: Profile = _ANY_MODEL) -> Dumped:
        """Write a request for a provider; raises `UnrepresentableError`."""
        return dump_request(request, profile)

    def load_response(self, body: bytes) -> tuple[Event, ...]:
        """Read a whole answer; raises `ProtocolBroken`, or the `ProviderError` that a body with status 200 carries."""
        return load_response(body)

    def reader(self) -> Reader:
        """Begin to read a streamed answer."""
        return Reader()

    def load_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """Read an answer with an error status, whatever its body is."""
        return load_error(status, headers, body)

    def load_request(self, body: bytes) -> Request:
        """Read a client's request; raises `RequestError` with the faulty `param`."""
        return load_request(body)

    def dump_response(self, response: Response, request: Request | None = None) -> bytes:
        """Write a whole answer for a client; nothing in an Anthropic request changes its form."""
        return dump_response(response)

    def writer(self, request: Request) -> Writer:
        """Begin to write a streamed answer; nothing in an Anthropic request changes its form."""
        return Writer()

    def dump_error(self, error: PodiumError) -> tuple[int, dict[str, str], bytes]:
        """Write an error for a client: status, headers and body."""
        return dump_error(error)


CODEC: Codec = Anthropic()
"""The codec of Anthropic's dialect."""
