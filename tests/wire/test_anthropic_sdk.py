"""The official client, against a real local server, reads what this codec writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import anthropic
import pytest

from leaves import read_stream
from podium.errors import Overloaded
from podium.types import (
    Event,
    Failed,
    Finish,
    Finished,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Request,
    Response,
    Started,
    Text,
    ToolCall,
    Usage,
    fold,
    unfold,
)
from podium.wire.anthropic import CODEC
from recordings import Recording, each_recording


@contextmanager
def _serving(kind: str, body: bytes) -> Iterator[tuple[anthropic.Anthropic, list[bytes]]]:
    """Serve one body to whoever asks, and keep what was asked."""
    asked: list[bytes] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with anthropic.Anthropic(api_key="k", base_url=f"http://127.0.0.1:{server.server_port}", max_retries=0) as client:
                yield client, asked
        finally:
            server.shutdown()
            thread.join()


ASK: dict[str, Any] = {"model": "claude", "max_tokens": 10, "messages": [{"role": "user", "content": "Hello"}]}


def _accumulated(events: list[Event]) -> anthropic.types.Message:
    writer = CODEC.writer(Request(model="claude", messages=()))
    body = b"".join(writer.send(event) for event in events)
    with _serving("text/event-stream", body) as (client, _), client.messages.stream(**ASK) as stream:
        return stream.get_final_message()


def _compare(message: anthropic.types.Message, answer: Response) -> None:
    """The client's message must say what the fold says, block by block and count by count."""
    whole = json.loads(CODEC.dump_response(answer))
    said = json.loads(message.model_dump_json())
    assert [_plain(block) for block in said["content"]] == [_plain(block) for block in whole["content"]]
    for key in ("id", "model", "role", "type", "stop_reason", "stop_sequence"):
        assert said[key] == whole[key]
    for key in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
        assert (said["usage"][key] or 0) == whole["usage"].get(key, 0)


def _plain(block: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is null and what the client adds of its own."""
    return {key: value for key, value in block.items() if value not in (None, []) and key != "parsed_output"}


FOREIGN: list[Event] = [
    Started(id="chatcmpl-1", model="gpt"),
    PartStart(index=0, part=Reasoning()),
    PartDelta(index=0, text="Let me see."),
    PartEnd(index=0, extra={"openai_chat": {"reasoning_details": [{"data": "x"}]}}),
    PartStart(index=1, part=Text(text="")),
    PartDelta(index=1, text="It is "),
    PartDelta(index=1, text="élan.\n\n"),
    PartEnd(index=1),
    PartStart(index=2, part=ToolCall(id="call_1", name="f")),
    PartDelta(index=2, text='{"a": ['),
    PartDelta(index=2, text='1, "b"]}'),
    PartEnd(index=2),
    PartStart(index=3, part=ToolCall(id="call_2", name="g")),
    PartEnd(index=3),
    Finished(finishes=(Finish(reason="tool_calls"),), usage=Usage(input=3, cache_read=4, cache_write=5, output=6, reasoning=7)),
]


def test_the_client_accumulates_a_foreign_stream_into_its_fold() -> None:
    _compare(_accumulated(FOREIGN), fold(FOREIGN))


def test_the_client_accumulates_an_answer_that_comes_whole() -> None:
    answer = fold(FOREIGN)
    _compare(_accumulated(list(unfold(answer))), answer)


@each_recording(lambda each: each.provider == "anthropic" and each.stream is not None and "pause-turn" not in each.id)
def test_the_client_accumulates_what_was_recorded_and_written_again(recording: Recording) -> None:
    events = read_stream(CODEC.reader(), [recording.stream or b""])
    if isinstance(events[-1], Failed):
        with pytest.raises(anthropic.APIStatusError) as caught:
            _accumulated(events)
        assert "overloaded_error" in str(caught.value)
    elif "stream-mcp" not in recording.id:  # its blocks are the beta client's
        _compare(_accumulated(events), fold(events))


def test_a_failed_stream_raises_in_the_client() -> None:
    with pytest.raises(anthropic.APIStatusError):
        _accumulated([*FOREIGN[:3], Failed(error=Overloaded("Too busy."))])


def test_the_client_reads_a_whole_answer_and_its_request_is_read_here() -> None:
    answer = fold(FOREIGN)
    with _serving("application/json", CODEC.dump_response(answer)) as (client, asked):
        message = client.messages.create(
            **ASK,
            system="Be brief.",
            tools=[{"name": "f", "input_schema": {"type": "object"}}],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
            stop_sequences=["x"],
        )
    _compare(message, answer)
    request = CODEC.load_request(asked[0])
    assert request.messages[0].text == "Hello"
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.tool_choice.parallel) == ("required", False)
    assert json.loads(CODEC.dump_request(request).body) == json.loads(asked[0])
