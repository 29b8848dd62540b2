"""The results of a batch: one line a prompt, in order, in a file that a later run can go on with.

Theory. Answers cost money, so a result is written to the file as soon as it is there, whatever its place; when the run ends, by
itself or by Ctrl-C, the file is put in the order of the prompts. A run that begins with such a file keeps the good answers,
recognised by their line's key (and id), and asks only for the rest.

Rules.
- A line that failed is asked again, unless failures are to be kept. A last line that was torn off (the machine went down as
  it was written) is dropped and its prompt asked again. Anything else that is no result, or answers none of the prompts, is
  an error: a file is never overwritten with less than it held.
- The file is replaced whole (write beside it, then rename), and only where its content changes.
- A run locks its file, and the one that takes its place before it does: a second run at the same time would pay for the same
  answers again, and each would put away what the other has written.
- Where the results go to a pipe, they are written in order, each as soon as those before it are there.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import stat
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Generic

import msgspec

from podium.cli.console import plural, say
from podium.cli.jobs import L
from podium.cli.source import naming_file
from podium.errors import RequestError

_WHAT = "The file of results"
_HINT = "Give another --out, or --fresh to replace it."


class Results(Generic[L]):
    """Where the results of a batch go: a file, in which earlier answers are kept, or stdout, or (`silent`) memory alone.

    `command` names who writes such a file. `keep_failed` keeps failures too; `renew` brings an earlier result up to date;
    `belongs` says which results are kept that answer none of the lines (by default none may be there). Raises
    `RequestError` for a file that is no file of results, or of other prompts.
    """

    def __init__(
        self,
        path: str | None,
        jobs: Sequence[L],
        *,
        fresh: bool = False,
        command: str = "run",
        silent: bool = False,
        keep_failed: bool = False,
        renew: Callable[[L, dict[str, Any]], dict[str, Any]] | None = None,
        belongs: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        self._out = path
        self._command = command
        self._silent = silent
        self._keep_failed = keep_failed
        self._renew = renew
        self._belongs = belongs
        self._others: list[bytes] = []
        """Results that answer none of the lines, and are kept."""
        self._jobs = jobs
        self._file: IO[bytes] | None = None
        self._path = Path(path) if path is not None and _is_regular(path) else None
        self._lines: dict[int, bytes] = {}
        """By the line of the prompt."""
        self._next = 0
        self._in_order = True
        self.kept: frozenset[int] = frozenset()
        """Lines of the prompts that were answered before."""
        self.torn = False
        """Whether the file's last line was torn off."""
        if self._path is None:
            if path is not None:
                with naming_file(path, _WHAT):
                    self._file = Path(path).open("wb")  # noqa: SIM115  # open until close()
            return
        with naming_file(self._path, _WHAT):
            self._file = _open_alone(self._path)
        try:
            if not fresh:
                self._keep_earlier(self._path)
            with naming_file(self._path, _WHAT):
                self._replace(self._path)
        except BaseException:
            self._file.close()
            raise

    @property
    def todo(self) -> list[L]:
        """The jobs that are to be asked."""
        return [job for job in self._jobs if job.line not in self.kept]

    @property
    def total(self) -> int:
        """How many jobs there are, answered or not."""
        return len(self._jobs)

    def documents(self) -> list[dict[str, Any]]:
        """Return all results so far, earlier ones among them, in order."""
        known = [self._lines[job.line] for job in self._jobs if job.line in self._lines]
        return [msgspec.json.decode(line) for line in (*self._others, *known)]

    def add(self, job: L, document: dict[str, Any]) -> None:
        """Take a result."""
        line = _encode(job, document)
        self._lines[job.line] = line
        if self._path is None:
            self._write_ready()
            return
        self._in_order = self._in_order and self._jobs[len(self._lines) - 1] is job
        with naming_file(self._path, _WHAT):
            assert self._file is not None
            self._file.write(line)
            self._file.flush()

    def say_kept(self, done: str, again: str) -> None:
        """Say on stderr what an earlier run left; `done` and `again` are the words for what is done to a prompt."""
        if self.torn:
            say(f"The last line of {self._out} was torn off; its prompt is {again} again.", "yellow")
        if self.kept:
            are = "is" if len(self.kept) == 1 else "are"
            say(f"{len(self.kept):,} of {plural(self.total, 'prompt')} {are} {done} in {self._out} and kept.", "dim")

    def say_interrupted(self, count: int, done: str) -> None:
        """Say on stderr how far a run came that Ctrl-C ended, and how it goes on."""
        if self._out is None:
            say(f"Interrupted: {count:,} of {self.total:,} prompts were {done}. With --out FILE, a later run can go on.")
            return
        again = shlex.join(["podium", *sys.argv[1:]])
        say(f"Interrupted: {count:,} of {self.total:,} prompts are {done}, and kept in {self._out}.\nTo go on: {again}")

    def close(self) -> None:
        """Put the file in order and close it."""
        try:
            if self._path is not None and not (self._in_order and self._path.exists()):
                with naming_file(self._path, _WHAT):
                    self._replace(self._path)
        finally:
            if self._file is not None:
                self._file.close()

    def __enter__(self) -> Results[L]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write_ready(self) -> None:
        """Write, to a pipe, the results before which none is missing."""
        while self._next < len(self._jobs) and (line := self._lines.get(self._jobs[self._next].line)) is not None:
            self._next += 1
            if not self._silent:
                del self._lines[self._jobs[self._next - 1].line]
            if self._file is not None:
                self._file.write(line)
                self._file.flush()
            elif not self._silent:
                sys.stdout.write(line.decode())
                sys.stdout.flush()

    # --- the file -------------------------------------------------------------------------------------------------------

    def _replace(self, path: Path) -> None:
        """Make the file hold the known results in the order of their prompts."""
        content = b"".join((*self._others, *(self._lines[job.line] for job in self._jobs if job.line in self._lines)))
        self._in_order = list(self._lines) == [job.line for job in self._jobs[: len(self._lines)]]
        if path.exists() and path.read_bytes() == content:
            return
        place = path.resolve()  # beside the file itself, which a link may have on another disk
        beside = place.with_name(f".{place.name}.{os.getpid()}.part")
        file: IO[bytes] = beside.open("wb")
        try:
            _lock(file)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                beside.chmod(stat.S_IMODE(path.stat().st_mode))
            beside.replace(place)
            assert self._file is not None
            file, self._file = self._file, file  # what follows is written behind it
        finally:
            beside.unlink(missing_ok=True)
            file.close()

    def _keep_earlier(self, path: Path) -> None:
        with naming_file(path, _WHAT):
            content = path.read_bytes()
        waiting: dict[tuple[Any, Any], deque[L]] = {}
        for job in self._jobs:
            waiting.setdefault((job.id, job.key), deque()).append(job)
        strangers: list[int] = []
        found: dict[int, bytes] = {}
        lines = content.splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            result = _decode(line)
            if result is None:
                if number < len(lines) or (line.endswith(b"\n") and line.strip()):
                    raise RequestError(f"{path}:{number}: this is no result of `podium {self._command}`.", hint=_HINT)
                self.torn = bool(line.strip())
            elif result["ok"] or self._keep_failed:
                jobs = waiting.get((result.get("id"), result["key"]))
                if jobs:
                    job = jobs.popleft()
                    found[job.line] = _encode(job, result if self._renew is None else self._renew(job, result))
                elif self._belongs is not None and self._belongs(result):
                    self._others.append(line.rstrip() + b"\n")
                else:
                    strangers.append(number)
        if strangers:
            raise RequestError(
                f"{path} holds {plural(len(strangers), 'answer')}, the first on line {strangers[0]}, to none of these prompts "
                "as they are asked now: the prompts, the spec or the settings differ.",
                hint=_HINT,
            )
        self._lines = {job.line: found[job.line] for job in self._jobs if job.line in found}
        self.kept = frozenset(found)


def _is_regular(path: str) -> bool:
    """Whether a path is, or would be, a plain file: not a pipe or a device."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def _open_alone(path: Path) -> IO[bytes]:
    """Open a file to write behind what it holds, which no other run may then. Raises `RequestError` where one does."""
    while True:
        file = path.open("ab")
        try:
            _lock(file)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError:
            file.close()
            raise RequestError(
                f"Another run writes to {path} just now.", hint="Wait for its end, or give another --out."
            ) from None
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()  # another run has just put its results in the place of this one


def _lock(file: IO[bytes]) -> None:
    """Keep others from an open file until it is closed. Raises `BlockingIOError` where somebody has it."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # some network folders know no locks
        return


def _encode(job: L, document: dict[str, Any]) -> bytes:
    head: dict[str, Any] = {"line": job.line} | ({} if job.id is None else {"id": job.id})
    rest = {name: value for name, value in document.items() if name not in ("line", "id", "key")}
    return msgspec.json.encode({**head, **rest, "key": job.key}) + b"\n"


def _decode(line: bytes) -> dict[str, Any] | None:
    """Read a line of results; None where it is none."""
    try:
        plain = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    whole = isinstance(plain, dict) and isinstance(plain.get("ok"), bool) and isinstance(plain.get("key"), str)
    return plain if whole else None
