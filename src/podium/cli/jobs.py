"""A file of prompts: each line becomes a job, or an error that names the line.

Theory. A batch that fails on its thousandth line has spent money on the first 999. So the whole file is read, validated and
resolved before anything is sent, by the same door that a call goes through.

Rules.
- A line is a JSON object with `prompt` or `messages`, or a JSON string, which is a prompt. It may set `id`, `spec`, `user`,
  `experiment`, `pin`, `timeout`, and whatever a call may say; what it sets comes before the options of the command.
- `category` and `expect` are for `podium compare`, and passed over here: one file serves both.
- Blank lines are skipped. An `id` is a text or a whole number and comes once.
- A job's `key` is a hash of all that decides its answer (not of `id` and `timeout`), so that a result can be recognised.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from podium.cli.source import naming_file
from podium.errors import PodiumError, RequestError
from podium.types import Value

if TYPE_CHECKING:
    from podium.engine.models import Models

CALL = ("spec", "user", "experiment", "pin", "timeout")
"""What a line may say beside what it asks."""
COMPARED = ("category", "expect")
"""What a line may say for `podium compare`, which takes the same files: no part of what is asked."""

_WANTED: dict[str, type | tuple[type, ...]] = {
    "spec": str,
    "user": str,
    "experiment": str,
    "pin": bool,
    "timeout": (str, int, float),
    "id": (str, int),
}


class Line(Value, frozen=True, kw_only=True):
    """What a result belongs to."""

    line: int
    """Counts from 1."""
    id: str | int | None = None
    key: str
    """A hash of all that decides the result."""


L = TypeVar("L", bound=Line)


class Job(Line, frozen=True, kw_only=True):
    """One prompt of a file."""

    spec: str | None = None
    call: dict[str, Any] = {}
    """`user_id`, `experiment`, `pin`, `timeout`."""
    ask: dict[str, Any] = {}
    """What `generate_text` takes."""


def read_jobs(path: str, models: Models, *, spec: str | None, call: Mapping[str, Any], ask: Mapping[str, Any]) -> list[Job]:
    """Read, validate and resolve a file of prompts; `spec`, `call` and `ask` hold where a line says nothing.

    Raises `RequestError` and `SpecError` that name file and line.
    """

    def load(number: int, plain: dict[str, Any]) -> Job:
        job = _load(number, plain, spec, call, ask)
        models.stream_text(job.spec, **job.call, **job.ask)  # does all that a call does before it sends
        return job

    return read_lines(path, load)


def read_lines(path: str, load: Callable[[int, dict[str, Any]], L]) -> list[L]:
    """Read a file of prompts; `load` takes a line's number and object, and makes of them what is to be done.

    Raises what `load` raises, and `RequestError`, with file and line.
    """
    lines: list[L] = []
    seen: dict[str | int, int] = {}
    for number, content in _lines(path):
        try:
            line = load(number, _decode(content))
        except PodiumError as error:
            error.message = f"{path}:{number}: {error.message}"
            raise
        if line.id is not None and (first := seen.setdefault(line.id, number)) != number:
            raise RequestError(
                f"{path}:{number}: the id {line.id!r} is on line {first} too.",
                param="id",
                hint="Ids tell results apart; change one.",
            )
        lines.append(line)
    if not lines:
        raise RequestError(f"{path} holds no prompts.", hint='Write one JSON object a line: {"prompt": "..."}.')
    return lines


def _lines(path: str) -> Iterator[tuple[int, bytes]]:
    with naming_file(path, "The file of prompts"), open(path, "rb") as file:
        for number, content in enumerate(file, 1):
            stripped = content.removeprefix(b"\xef\xbb\xbf").strip()
            if stripped:
                yield number, stripped


def _decode(content: bytes) -> dict[str, Any]:
    """A line's object, with what it says beside its prompt in its own form."""
    try:
        content.decode()
    except UnicodeDecodeError:
        raise RequestError("this is not UTF-8 text.", hint="Save the file as UTF-8.") from None
    try:
        plain = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise RequestError(f"this is not JSON: {error}.", hint='Each line is one JSON object: {"prompt": "..."}.') from None
    if isinstance(plain, str):
        plain = {"prompt": plain}
    if not isinstance(plain, dict):
        raise RequestError(f"this is {_kind(plain)}, not an object.", hint='Each line is one JSON object: {"prompt": "..."}.')
    if "user_id" in plain:
        plain.setdefault("user", plain.pop("user_id"))
    for name, kind in _WANTED.items():
        wanted(name, plain.get(name), kind)
    return plain


def wanted(name: str, value: Any, kind: type | tuple[type, ...]) -> None:
    """Check what a field holds. Raises `RequestError`."""
    if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
        raise RequestError(f"`{name}` is {_kind(value)}.", param=name, hint=_HINTS.get(name, "Give text."))


def _load(number: int, plain: dict[str, Any], spec: str | None, call: Mapping[str, Any], ask: Mapping[str, Any]) -> Job:
    own = {name: plain.pop(name, None) for name in ("id", *CALL, *COMPARED)}
    full = load_settings(plain, ask, CALL)
    named = {
        "user_id": call["user_id"] if own["user"] is None else own["user"],
        "experiment": call["experiment"] if own["experiment"] is None else own["experiment"],
        "pin": call["pin"] if own["pin"] is None else own["pin"],
    }
    asked = spec if own["spec"] is None else own["spec"]
    key = fingerprint([asked, named, full])
    timeout = call["timeout"] if own["timeout"] is None else own["timeout"]
    return Job(line=number, id=own["id"], key=key, spec=asked, call={**named, "timeout": timeout}, ask=full)


def load_settings(plain: Mapping[str, Any], ask: Mapping[str, Any], beside: Iterable[str]) -> dict[str, Any]:
    """Return what a line asks, over the settings `ask`; `beside` names what else a line may say.

    Raises `RequestError` for an unknown field.
    """
    from podium.engine.text import Ask

    known = {*Ask.__annotations__, *beside, "id"}
    for name in plain:
        if name not in known:
            near = (
                "spec" if name == "model" and "spec" in known else next(iter(difflib.get_close_matches(name, known, 1)), None)
            )
            hint = f"Did you mean `{near}`?" if near else "Lines have prompt or messages, and id, spec, user, system, ..."
            raise RequestError(f"there is no field `{name[:60]}`.", param=name, hint=hint)
    return {**ask, **{name: value for name, value in plain.items() if value is not None}}


_HINTS = {"pin": "Give true or false.", "timeout": 'Give "30s", or milliseconds.', "id": "Give text or a whole number."}


def fingerprint(parts: Any) -> str:
    """Return a hash of plain values."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")
