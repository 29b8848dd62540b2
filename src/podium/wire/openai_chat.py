"""OpenAI Chat Completions, and everything that is compatible with it.

Theory. The dialect of OpenAI's `/chat/completions`, of Groq, OpenRouter, Mistral, DeepSeek, xAI, Together, Fireworks, Cerebras,
Azure, Ollama, vLLM and of the compatible endpoints of others. They differ in what they add and in what they refuse: what is
added is kept (`extra`), what is refused is in the model's `Profile`.

Rules. Those of `podium.wire.codec`. This module only gathers the pieces: requests, answers, streams and errors, both ways.
"""

from __future__ import annotations

from collections.abc import Mapping

from podium.errors import PodiumError, ProviderError
from podium.types import Event, Failed, Profile, Request, Response
from podium.wire import openai_chat_errors, openai_chat_request, openai_chat_response
from podium.wire.codec import Codec, Dumped
from podium.wire.openai_chat_parts import NAME
from podium.wire.openai_chat_request import AS_WRITTEN
from podium.wire.openai_chat_stream import ChatReader
from podium.wire.openai_chat_writer import ChatWriter


class OpenAIChat:
    """The codec of OpenAI Chat."""

    name = NAME

    def dump_request(self, request: Request, profile: Profile = AS_WRITTEN) -> Dumped:
        """Write a request for a provider; without a profile exactly as it was read.

        Raises `UnrepresentableError`.
        """
        return openai_chat_request.dump_request(request, profile)

    def load_response(self, body: bytes) -> tuple[Event, ...]:
        """Read a whole answer, even where the provider streamed it without being asked.

        Raises `ProtocolBroken`, or the `ProviderError` that the body carries.
        """
        if body.lstrip()[:5] in (b"data:", b"event"):
            reader = ChatReader()
            events = (*reader.feed(body), *reader.close())
            if isinstance(last := events[-1], Failed):
                raise last.error
            return events
        return openai_chat_response.load_response(body)

    def reader(self) -> ChatReader:
        """Begin to read a streamed answer."""
        return ChatReader()

    def load_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """Read an answer with an error status, whatever its body is. `headers` has lower-case names."""
        return openai_chat_errors.load_failure(status, headers, body)

    def load_request(self, body: bytes) -> Request:
        """Read a client's request. Raises `RequestError` with the faulty `param`."""
        return openai_chat_request.load_request(body)

    def dump_response(self, response: Response, request: Request | None = None) -> bytes:
        """Write a whole answer for a client."""
        return openai_chat_response.dump_response(response, request)

    def writer(self, request: Request) -> ChatWriter:
        """Begin to write a streamed answer to a client's request."""
        return ChatWriter(request)

    def dump_error(self, error: PodiumError) -> tuple[int, dict[str, str], bytes]:
        """Write an error for a client: status, headers and body."""
        return openai_chat_errors.dump_error(error)


CODEC: Codec = OpenAIChat()
"""The codec that `podium.wire.codec.codec("openai_chat")` gives."""
