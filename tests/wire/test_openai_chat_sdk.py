"""The official client, against a real local server, accumulates what this codec writes."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import openai

from podium.types import Event, fold
from wire.crossing import CHAT, HI, anthropic_stream, block, chat_call, chat_result, read, to_anthropic, use


def _accumulated(body: bytes) -> dict[str, Any]:
    """Return the message that the client makes of a stream."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            base_url = f"http://127.0.0.1:{server.server_port}/v1"
            with (
                openai.OpenAI(api_key="k", base_url=base_url, max_retries=0) as client,
                client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "hi"}]) as stream,
            ):
                message = stream.get_final_completion().choices[0].message
        finally:
            server.shutdown()
            thread.join()
    loaded: dict[str, Any] = json.loads(message.model_dump_json())
    return loaded


def _stream(events: list[Event]) -> bytes:
    asked = CHAT.load_request(json.dumps({"model": "m", "messages": [HI], "stream": True}).encode())
    writer = CHAT.writer(asked)
    return b"".join(writer.send(event) for event in events)


def _thought(index: int, signature: str, *pieces: str) -> list[dict[str, Any]]:
    texts = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    shell = {"type": "thinking", "thinking": "", "signature": ""}
    return block(index, shell, *texts, {"type": "signature_delta", "signature": signature})


def test_the_client_accumulates_thoughts_of_anthropics_and_gives_every_signature_back() -> None:
    call = {**use("t"), "caller": {"type": "code_execution_20250825", "tool_id": "s"}}
    redacted = {"type": "redacted_thinking", "data": "R"}
    blocks = [
        *_thought(0, "S1", "on", "e"),
        *block(1, redacted),
        *_thought(2, "S2", "tw", "o"),
        *block(3, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Look:"}),
        *block(4, call, {"type": "input_json_delta", "partial_json": '{"a": 1}'}),
    ]
    events = read("anthropic", anthropic_stream(*blocks, stop="tool_use"))
    message = _accumulated(_stream(events))
    answer = fold(events)
    assert (message["content"], message["reasoning_content"]) == (answer.text, answer.reasoning)
    back = to_anthropic(HI, {key: value for key, value in message.items() if key != "parsed"}, chat_result("t"))
    assert back.messages[1]["content"] == [
        {"type": "thinking", "thinking": "one", "signature": "S1"},
        redacted,
        {"type": "thinking", "thinking": "two", "signature": "S2"},
        {"type": "text", "text": "Look:"},
        {**call, "input": {"a": 1}},
    ]


def test_the_client_accumulates_calls_that_follow_each_other() -> None:
    pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ("{", '"a": 1', "}")]
    events = read("anthropic", anthropic_stream(*block(0, use("t1"), *pieces), *block(1, use("t2"), *pieces), stop="tool_use"))
    calls = _accumulated(_stream(events))["tool_calls"]
    assert [
        {"id": call["id"], "type": call["type"], "function": {key: call["function"][key] for key in ("name", "arguments")}}
        for call in calls
    ] == [chat_call("t1", arguments='{"a": 1}'), chat_call("t2", arguments='{"a": 1}')]
