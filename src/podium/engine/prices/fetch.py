"""Fetching prices: ask all sources, judge what they say, merge by precedence, and write one file.

Theory. Of two rows of one name the source with the higher precedence is believed: the user's files and URLs in the order
given, then OpenRouter for what OpenRouter sells, then genai-prices online, then the bundled data. A row is also judged
against what was known before: a price a thousand times higher or lower than everything known is in the wrong unit, and a
price that became 0 is a mistake, until a person says otherwise (`"free": true` in a file, or a price in the config).

Rules.
- A source that fails keeps the rows that it gave last, from the last good file; so does a row that is refused.
- The file is replaced whole and at once, or stays as it was. Nothing usable at all is an error, and the file stays. Of two
  fetches at once the second goes by what the first has put there.
- What changed is told by what is charged: a new date or source alone is no change.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import msgspec

from podium.catalog.price_reading import Reading
from podium.catalog.price_sheet import (
    NotPrices,
    Row,
    Sheet,
    dump_sheet,
    factor,
    free_by_mistake,
    is_free,
    load_heading,
    load_row,
    refusal,
)
from podium.engine.prices.sources import LARGEST, PATIENCE_S, Source, Unanswered, ask, open_session
from podium.errors import StoreError
from podium.types import Value

STRANGE_FACTOR = Decimal(1000)
"""A price that is so many times higher or lower than the one known is taken for one in the wrong unit."""

_LOCK_WAIT_S = 5.0


class Answered(Value, frozen=True, kw_only=True):
    """What one source gave."""

    source: str
    rows: int = 0
    """That are in the file now, from this source or kept from it."""
    refused: dict[str, str] = {}
    """Rows that were refused, and why."""
    unpriced: int = 0
    """Models of which it says no price that can be charged by tokens, requests or searches."""
    kept: int = 0
    """Rows that are kept from the last good file."""
    error: str | None = None
    """Why nothing of it could be used."""


class Change(Value, frozen=True, kw_only=True):
    """A price that is not what it was."""

    name: str
    before: dict[str, Any] | None
    """Its rates as they stand in the file, those that differ; None: added."""
    after: dict[str, Any] | None
    """None: removed."""


class Fetched(Value, frozen=True, kw_only=True):
    """What a fetch did."""

    path: str
    updated_at: str
    models: int
    sources: tuple[Answered, ...]
    added: tuple[Change, ...]
    removed: tuple[Change, ...]
    changed: tuple[Change, ...]
    first: bool = False
    """Whether there was no good file before."""
    note: str | None = None
    """What was wrong with the file before, where it could not be read."""


async def fetch_prices(
    sources: tuple[Source, ...], out: Path, now: float, *, patience_s: float = PATIENCE_S, largest: int = LARGEST
) -> Fetched:
    """Ask all sources at once, merge them, and replace the file `out`.

    `now` is in epoch seconds. Raises `StoreError` where nothing can be used or the file cannot be written; it then stays as it
    was.
    """
    updated_at = datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    async with open_session() as session:
        readings = await asyncio.gather(*(_ask(source, session, updated_at, patience_s, largest) for source in sources))
    return await asyncio.to_thread(_put, out, dict(zip(sources, readings, strict=True)), updated_at)


def _put(out: Path, readings: Mapping[Source, Reading | str], updated_at: str) -> Fetched:
    """Merge what sources said over the rows of the file, and replace it."""
    with _hold(out) or nullcontext():
        before, note = _last_good(out)
        merged, answers, fallbacks = merge(readings, before or {}, updated_at[:10])
        if all(answer.error is not None for answer in answers):
            reasons = "; ".join(f"{answer.source}: {answer.error}" for answer in answers)
            raise StoreError(
                f"No prices could be fetched: {reasons}. {out} stays as it was.",
                hint="Check the network and the sources, and run it again.",
            )
        told = {
            answer.source: {"rows": answer.rows, "refused": len(answer.refused), "error": answer.error} for answer in answers
        }
        _replace(out, dump_sheet(Sheet(updated_at=updated_at, fallbacks=fallbacks, sources=told, models=merged)))
    added, removed, changed = differences(before or {}, merged)
    return Fetched(
        path=str(out),
        updated_at=updated_at,
        models=len(merged),
        sources=tuple(answers),
        added=added,
        removed=removed,
        changed=changed,
        first=before is None,
        note=note,
    )


async def _ask(source: Source, session: Any, updated_at: str, patience_s: float, largest: int) -> Reading | str:
    try:
        return await ask(source, session, updated_at, patience_s=patience_s, largest=largest)
    except Unanswered as error:
        return str(error)


# --- merging ---------------------------------------------------------------------------------------------------------


def merge(
    readings: Mapping[Source, Reading | str], before: Mapping[str, Row], day: str
) -> tuple[dict[str, Row], list[Answered], dict[str, tuple[str, ...]]]:
    """Merge what sources said (or why they could not), the first with the highest precedence, over the rows of the last file.

    `day` (`2026-11-23`) decides which dated rates stand at the top of a row. Returns the rows in the order in which their
    spellings are tried, what each source gave, and who resells whose models.
    """
    merged: dict[str, Row] = {}
    answers: list[Answered] = []
    names: dict[int, list[str]] = {}
    fallbacks: dict[str, tuple[str, ...]] = {}
    for source, reading in reversed(list(readings.items())):  # the lowest precedence first, to be replaced
        last = {name: row for name, row in before.items() if row.source == source.name}
        if isinstance(reading, str):
            rows, refused, unpriced, kept, error = last, dict[str, str](), 0, len(last), reading
        else:
            rows, refused = _believable(source, reading, merged, before)
            keep = {name: row for name, row in last.items() if name in refused}
            rows, unpriced, kept, error = rows | keep, reading.unpriced, len(keep), None
            fallbacks |= reading.fallbacks
        names[source.rank] = [*rows, *names.get(source.rank, ())]
        for name, row in rows.items():
            match = row.match if row.match is not None or name not in merged else merged[name].match
            merged[name] = msgspec.structs.replace(row, match=match)
        answers.append(Answered(source=source.name, refused=refused, unpriced=unpriced, kept=kept, error=error))
    counts: dict[str, int] = {}
    for row in merged.values():
        counts[row.source] = counts.get(row.source, 0) + 1
    # Spellings are tried in the order of the file. That of genai-prices is thought out; only names that it lacks come before.
    known = [name for rank in (2, 3, 1) for name in names.get(rank, ())]
    order = [*(name for name in names.get(0, ()) if name not in set(known)), *known]
    ordered = {name: merged[name].on(day) for name in order}
    return ordered, [answer.replace(rows=counts.get(answer.source, 0)) for answer in reversed(answers)], fallbacks


def _believable(
    source: Source, reading: Reading, lower: Mapping[str, Row], before: Mapping[str, Row]
) -> tuple[dict[str, Row], dict[str, str]]:
    """The rows that can be believed next to what is known, and the refused ones with their reasons."""
    rows, refused = {}, dict(reading.refused)
    for name, row in reading.rows.items():
        known = [each for each in (before.get(name), lower.get(name)) if each is not None]
        if source.address is not None and (reason := _doubt(name, row, known)):  # the bundled data was released by a person
            refused[name] = reason
        else:
            rows[name] = row if not is_free(row) else msgspec.structs.replace(row, free=True)
    return rows, refused


def _doubt(name: str, row: Row, known: list[Row]) -> str | None:
    """Why a row is not to be believed, next to what the last file and the sources below say; one that agrees is enough."""
    if free_by_mistake(name, row) and not any(map(is_free, known)):
        return 'it costs nothing, and neither its name nor `"free": true` says that this is meant'
    factors = [times for each in known if (times := factor(row, each)) is not None]
    if not factors or not all(times >= STRANGE_FACTOR or times * STRANGE_FACTOR <= 1 for times in factors):
        return None
    times = factors[0]
    how = f"it is {times:,.0f} times what it was" if times > 1 else f"it was {1 / times:,.0f} times as much"
    return f"{how}: is it in USD per million tokens? If it is, delete the old file"


# --- the file --------------------------------------------------------------------------------------------------------


def _hold(path: Path) -> IO[bytes] | None:
    """Keep other fetches from the file until what is returned is closed: what they kept of it, or put there, would be lost.

    None: there is no file, or no lock to be had; one that hangs is waited for some seconds.
    """
    until = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            file = path.open("rb")
        except OSError:  # whoever reads it says what is wrong
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except OSError as error:
            if not isinstance(error, BlockingIOError) or time.monotonic() >= until:
                file.close()
                return None
            time.sleep(0.02)
        file.close()  # another fetch has it, or has just put its own in its place


def _last_good(path: Path) -> tuple[dict[str, Row] | None, str | None]:
    """The rows of the file as it is, and what is wrong with it; no rows where there is no good file."""
    try:
        heading = load_heading(path.read_bytes())
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, f"{path} could not be read: {error.strerror or type(error).__name__}."
    except NotPrices as error:
        return None, f"{path} was no price file: {error}."
    rows, bad = {}, 0
    for name, raw in heading.models.items():
        try:
            row = load_row(raw)
        except NotPrices:
            bad += 1
            continue
        if refusal(name, row) is None:
            rows[name] = row
        else:
            bad += 1
    return rows, f"{bad} rows of {path} could not be used." if bad else None


def _replace(path: Path, data: bytes) -> None:
    """Write a file beside, flush it to the disk, and put it in the place of the old one. Raises `StoreError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"The prices could not be written to {path}: {error.strerror or type(error).__name__}. It stays as it was.",
            hint="Check the folder, its rights and its space, or name another file with --out.",
        ) from error


# --- what changed ----------------------------------------------------------------------------------------------------


def differences(
    before: Mapping[str, Row], after: Mapping[str, Row]
) -> tuple[tuple[Change, ...], tuple[Change, ...], tuple[Change, ...]]:
    """Return the prices that were added, removed and changed, each in the order of their names."""
    added = tuple(Change(name=name, before=None, after=_plain(after[name])) for name in sorted(after.keys() - before.keys()))
    removed = tuple(Change(name=name, before=_plain(before[name]), after=None) for name in sorted(before.keys() - after.keys()))
    changed = []
    for name in sorted(after.keys() & before.keys()):
        if before[name].terms() != after[name].terms():
            was, now = _plain(before[name]), _plain(after[name])
            differing = [key for key in (*was, *(key for key in now if key not in was)) if was.get(key) != now.get(key)]
            changed.append(
                Change(
                    name=name,
                    before={key: was.get(key) for key in differing},
                    after={key: now.get(key) for key in differing},
                )
            )
    return added, removed, tuple(changed)


def _plain(row: Row) -> dict[str, Any]:
    """What a row charges, by its keys in the file; numbers as text, exactly."""
    plain: dict[str, Any] = msgspec.to_builtins(row.terms())
    return plain
