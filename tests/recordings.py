"""Recorded provider traffic, as typed records; tests that need it skip where it is absent.

The recordings are not part of the project. They are found in the folder that `PODIUM_FIXTURES` names, or beside the project
at `../shared/fixtures`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("PODIUM_FIXTURES") or Path(__file__).resolve().parents[2] / "shared" / "fixtures")

_BY_TYPE = ("anthropic", "openai-responses", "cohere")
_NO_DONE = ("gemini",)


@dataclass(frozen=True)
class Recording:
    """One exchange: what a client sent and what the provider answered."""

    id: str
    provider: str
    what: str
    method: str
    url: str
    status: int
    headers: dict[str, str]
    kind: str
    fidelity: str
    note: str
    files: dict[str, str]

    def _read(self, name: str | None) -> bytes | None:
        return (FOLDER / name).read_bytes() if name else None

    @property
    def request(self) -> bytes | None:
        """The request's body, where it was recorded."""
        return self._read(self.files.get("request"))

    @property
    def response(self) -> bytes | None:
        """The body of an answer that was no stream."""
        return self._read(next((name for name in self.files.values() if name.endswith(".response.json")), None))

    @property
    def stream(self) -> bytes | None:
        """The bytes of a stream of Server-Sent Events; payloads that were recorded bare are framed again."""
        for name in self.files.values():
            if name.endswith(".sse"):
                return self._read(name)
            if name.endswith(".chunks.txt"):
                return self._framed((FOLDER / name).read_bytes())
        return None

    @property
    def frames(self) -> bytes | None:
        """The bytes of an AWS event stream."""
        return self._read(next((name for name in self.files.values() if name.endswith(".eventstream.bin")), None))

    def _framed(self, payloads: bytes) -> bytes:
        lines = [line for line in payloads.splitlines() if line.strip()]
        if self.provider in _BY_TYPE:
            return b"".join(b"event: %b\ndata: %b\n\n" % (json.loads(line)["type"].encode(), line) for line in lines)
        framed = b"".join(b"data: %b\n\n" % line for line in lines)
        return framed if self.provider in _NO_DONE else framed + b"data: [DONE]\n\n"


@cache
def all_recordings() -> tuple[Recording, ...]:
    """Return every recording of the index, or nothing where there is no index."""
    index = FOLDER / "index.jsonl"
    if not index.exists():
        return ()
    fields = Recording.__dataclass_fields__
    rows = [json.loads(line) for line in index.read_text().splitlines() if line.strip()]
    return tuple(Recording(**{name: row.get(name) for name in fields}) for row in rows)


def each_recording(where: Callable[[Recording], bool]) -> pytest.MarkDecorator:
    """Run a test once for each recording that `where` picks, as the argument `recording`; skip it where there are none."""
    if not all_recordings():
        absent = pytest.param(None, marks=pytest.mark.skip(reason=f"no recordings at {FOLDER.name}; set PODIUM_FIXTURES"))
        return pytest.mark.parametrize("recording", [absent])
    picked = [recording for recording in all_recordings() if where(recording)]
    return pytest.mark.parametrize("recording", picked, ids=[recording.id for recording in picked])
