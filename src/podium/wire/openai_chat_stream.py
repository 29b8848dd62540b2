"""Streamed answers of OpenAI Chat, read.

Theory. Each event's data is a chunk: the envelope again, choices with deltas, at times usage, at times an error. The envelope
of the first chunk that says something becomes `Started`; where a later chunk differs (padding, timings), the difference goes
with the events of that chunk. Choices are read each by a `ChoiceReader` of its own.

Rules.
- `[DONE]` ends an answer, and so does the end of bytes once every choice has its finish reason. Any other end is
  `Failed(ProtocolBroken)`.
- Usage may come on its own (`choices: []`), with the last chunk, with every chunk, or under `x_groq`: the latest counts.
- An error in a chunk ends the answer, even after a finish reason: it is `Failed`, never a success.
- A body that is no stream (an error, or a whole answer where the provider does not stream) is read as what it is.
"""

from __future__ import annotations

from typing import Any

from podium.errors import PodiumError, ProtocolBroken, ProviderError
from podium.types import Event, Failed, Finished, Started, Usage
from podium.wire.documents import Malformed, kind_of, load_json, want_dict, want_list
from podium.wire.openai_chat_choice import ChoiceReader
from podium.wire.openai_chat_errors import load_failure
from podium.wire.openai_chat_parts import NAME, kept
from podium.wire.openai_chat_response import broken, choice_index, is_good, load_response, load_started
from podium.wire.openai_chat_usage import load_usage
from podium.wire.sse import Parser


class ChatReader:
    """Reads one streamed answer: `feed` the bytes as they come, then `close`."""

    __slots__ = ("_choices", "_early", "_first", "_notes", "_over", "_parser", "_started", "_usage", "_usage_said")

    def __init__(self) -> None:
        self._parser = Parser()
        self._first: dict[str, Any] = {}
        self._started: Started | None = None
        self._early: list[dict[str, Any]] = []
        self._choices: dict[int, ChoiceReader] = {}
        self._notes: list[dict[str, Any]] = []
        self._usage: Usage | None = None
        self._usage_said = False  # whether an event has the latest usage as well
        self._over = False

    @property
    def usage(self) -> Usage | None:
        """What the provider has said of its counts so far; None: nothing."""
        return self._usage

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes, split anywhere, and return the events that they complete."""
        if self._over:
            return []
        return self._take_all(self._parser.feed(data))

    def close(self) -> list[Event]:
        """Say that no more bytes come, and return how the answer ended, if that was not said before."""
        out = self.feed(b"")
        for last in (self._close_parser, self._close_stray, self._close_answer):
            if not self._over:
                last(out)
        return out

    def _close_parser(self, out: list[Event]) -> None:
        out.extend(self._take_all(self._parser.close()))

    def _close_stray(self, out: list[Event]) -> None:
        if self._parser.stray:
            self._take_stray(b"\n".join(self._parser.stray), out)

    def _close_answer(self, out: list[Event]) -> None:
        self._end(out, done=False)

    def _take_all(self, payloads: list[tuple[str | None, bytes]]) -> list[Event]:
        out: list[Event] = []
        for name, payload in payloads:
            if payload.strip() == b"[DONE]":
                self._end(out, done=True)
            elif payload and not payload.isspace():
                try:
                    document = load_json(payload)
                    for chunk in document if isinstance(document, list) else [document]:
                        self._take(want_dict(chunk, ""), name, payload, out)
                        if self._over:
                            break
                except Malformed as error:
                    self._fail(broken(error, payload), out)
            if self._over:
                break
        return out

    def _take(self, chunk: dict[str, Any], name: str | None, payload: bytes, out: list[Event]) -> None:
        choices = chunk.get("choices")
        if chunk.get("error") or name == "error" or (choices is None and not is_good(chunk)):
            if isinstance(chunk.get("usage"), dict):
                self._take_usage(chunk)
            self._fail(load_failure(200, {}, payload), out)
            return
        own: dict[str, Any] = {}
        if self._started is None:
            if not choices and not chunk.get("usage") and not chunk.get("id"):
                self._early.append(chunk)
                return
            self._start(chunk, out)
        else:
            first = self._first
            changed = {
                key: value
                for key, value in chunk.items()
                if value is not None and first.get(key) != value and key != "choices" and key != "usage"
            }
            if changed:
                own["$chunk"] = changed
        if chunk.get("usage") or "x_groq" in chunk:
            self._take_usage(chunk)
            if chunk.get("usage") and choices:
                own["$usage"] = chunk["usage"]
        for at, choice in enumerate(want_list(choices, "choices") if choices is not None else ()):
            if type(choice) is not dict:
                raise Malformed(f"choices[{at}]", f"is {kind_of(choice)}, not an object")
            index = choice_index(choice, at)
            reader = self._choices.get(index)
            if reader is None:
                reader = self._choices[index] = ChoiceReader(index, self._started.id if self._started else "")
            reader.take(choice, own, out)
            own = {}
        if own:
            self._notes.append(own)

    def _start(self, chunk: dict[str, Any], out: list[Event]) -> None:
        started = load_started(chunk, "chat.completion.chunk")
        if self._early:
            own = dict(started.extra.get(NAME, {}))
            for early in self._early:
                own |= {key: value for key, value in early.items() if key not in chunk and value is not None}
            started = started.replace(extra={NAME: {**own, "$early": self._early}})
        self._first = {key: value for key, value in chunk.items() if key not in ("choices", "usage")}
        self._started = started
        out.append(started)

    def _take_usage(self, chunk: dict[str, Any]) -> None:
        usage = chunk.get("usage")
        if not usage and isinstance(groq := chunk.get("x_groq"), dict):
            usage = groq.get("usage")
        if not usage:
            return
        if self._usage is not None and not self._usage_said and self._usage.extra[NAME] != usage:
            self._notes.append({"$usage": self._usage.extra[NAME]})
        self._usage_said = bool(chunk.get("usage") and chunk.get("choices"))
        self._usage = load_usage(usage)

    def _take_stray(self, text: bytes, out: list[Event]) -> None:
        """Read a body that was no stream, or an error that was written between events."""
        try:
            document = load_json(text)
        except Malformed:
            if self._started is None:
                self._fail(load_failure(200, {}, text), out)
            return
        if self._started is None and is_good(document):
            try:
                out.extend(load_response(text))
                self._over = True
            except ProviderError as error:
                self._fail(error, out)
        elif not is_good(document):
            self._fail(load_failure(200, {}, text), out)

    def _end(self, out: list[Event], *, done: bool) -> None:
        """End the answer: well, if every choice has ended or the provider says that all is done."""
        open_ = [index for index, reader in self._choices.items() if reader.word is None]
        if not self._choices or (open_ and not done):
            what = "began no choice" if not self._choices else f"had not finished choice {open_[0]}"
            said = "`[DONE]`" if done else "the end of its bytes"
            self._fail(
                ProtocolBroken(
                    f"The provider's stream came to {said} but {what}.",
                    body=None if not self._early else self._early,
                    hint="Ask again, or another target.",
                ),
                out,
            )
            return
        try:
            finishes = tuple(self._choices[index].finish(out) for index in sorted(self._choices))
        except ProviderError as error:
            self._fail(error, out)
            return
        except Malformed as error:
            self._fail(broken(error, b""), out)
            return
        self._over = True
        extra = kept({"$chunks": self._notes}) if self._notes else {}
        out.append(Finished(finishes=finishes, usage=self._usage, extra=extra))

    def _fail(self, error: PodiumError, out: list[Event]) -> None:
        if isinstance(error, ProviderError) and (self._usage is not None or self._choices):
            error.billable = True
            unsaid = [reader.unsaid() for reader in self._choices.values()]
            error.body = {"error": error.body, "$choices": unsaid, "$chunks": self._notes, "$early": self._early}
        self._over = True
        out.append(Failed(error=error))
