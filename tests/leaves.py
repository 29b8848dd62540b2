"""The judge of completeness: every leaf of a JSON document must leave its mark on what is decoded from it.

Each leaf is changed in turn, and each object gets a member that nobody knows. If the decoded value stays the same, the decoder
has dropped something in silence. An error is an answer too: nothing was dropped in silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from typing import Any

from podium.errors import PodiumError
from podium.wire.sse import Parser, dump_event

Path = tuple[str | int, ...]

UNKNOWN = "unknown_to_all"
"""The name of the member that is added to each object."""


def _changed(leaf: Any) -> Any:
    match leaf:
        case bool():
            return not leaf
        case str():
            return leaf + "‡" if leaf else "changed"
        case int():
            return leaf + 1
        case float():
            return leaf + 0.5
        case None:
            return "no longer null"
        case []:
            return ["no longer empty"]
        case _:
            return {UNKNOWN: "no longer empty"}


def _with(document: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(document, list):
        return [_with(each, rest, value) if at == head else each for at, each in enumerate(document)]
    if head not in document:
        return {**document, head: value}
    return {key: _with(each, rest, value) if key == head else each for key, each in document.items()}


def variants(document: Any, *, unknown: bool = True) -> Iterator[tuple[Path, Any]]:
    """Give each path of the document with a copy that differs from the document at that path alone."""

    def walk(node: Any, path: Path) -> Iterator[tuple[Path, Any]]:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                yield from walk(value, (*path, key))
            if unknown:
                yield (*path, UNKNOWN), _with(document, (*path, UNKNOWN), "a value")
        elif isinstance(node, list) and node:
            for at, value in enumerate(node):
                yield from walk(value, (*path, at))
        else:
            yield path, _with(document, path, _changed(node))

    yield from walk(document, ())


def _decoded(decode: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return decode(body)
    except PodiumError as error:
        return type(error), str(error), error.to_dict()


def dotted(path: Path) -> str:
    """Write a path as `choices.*.delta.content`: list positions become stars."""
    return ".".join("*" if isinstance(step, int) else step for step in path)


def unaccounted(
    body: bytes, decode: Callable[[bytes], Any], *, ignored: Collection[str] = (), unknown: bool = True
) -> list[Path]:
    """Return the paths of a JSON body whose change leaves no mark on what `decode` gives; `ignored` has dotted paths."""
    document = json.loads(body)
    before = _decoded(decode, body)
    return [
        path
        for path, variant in variants(document, unknown=unknown)
        if dotted(path) not in ignored and _decoded(decode, json.dumps(variant).encode()) == before
    ]


def _shape(node: Any) -> Any:
    if isinstance(node, dict):
        return tuple((key, _shape(value)) for key, value in node.items())
    if isinstance(node, list):
        return tuple(map(_shape, node))
    return type(node).__name__, node in ("", None, 0)


def _telling(documents: list[Any]) -> list[int]:
    """Pick the chunks worth changing: of those of one shape, the first two and the last (the others tell the same)."""
    seen: dict[Any, list[int]] = {}
    for at, document in enumerate(documents):
        if document is not None:
            seen.setdefault(_shape(document), []).append(at)
    return sorted({at for places in seen.values() for at in (*places[:2], places[-1])})


def unaccounted_in_stream(
    stream: bytes,
    decode: Callable[[bytes], Any],
    *,
    ignored: Collection[str] = (),
    unknown: bool = True,
    every_chunk: bool = False,
) -> list[tuple[int, Path]]:
    """Return (chunk, path) of each change in a stream's JSON payloads that leaves no mark on what `decode` gives.

    `decode` takes the whole stream and gives its events. Unless `every_chunk` is asked for, only the first two and the last
    of the chunks of one shape are changed.
    """
    parser = Parser()
    events = parser.feed(stream) + parser.close()
    documents = [json.loads(data) if data.startswith((b"{", b"[")) and data != b"[DONE]" else None for _, data in events]
    written = [dump_event(data, name) for name, data in events]
    before = _decoded(decode, b"".join(written))
    places = [at for at, each in enumerate(documents) if each is not None] if every_chunk else _telling(documents)
    missing: list[tuple[int, Path]] = []
    for at in places:
        head, tail, name = b"".join(written[:at]), b"".join(written[at + 1 :]), events[at][0]
        for path, variant in variants(documents[at], unknown=unknown):
            if dotted(path) in ignored:
                continue
            if _decoded(decode, head + dump_event(json.dumps(variant).encode(), name) + tail) == before:
                missing.append((at, path))
    return missing


def read_stream(reader: Any, pieces: Collection[bytes]) -> list[Any]:
    """Feed the pieces to a reader, close it, and return all its events."""
    events: list[Any] = []
    for piece in pieces:
        events += reader.feed(piece)
    return events + list(reader.close())
