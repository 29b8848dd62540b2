"""The metrics of all processes of a data folder: each writes its own, whoever wants to see them adds them up.

Theory. A process writes its state to `<pid>-<start>.json` beside a lock file that it holds (flock) as long as it lives, so the
kernel itself says who is gone. Writing is a thread's work, at most once a second and only when something was counted; a
request pays for one flag. A reader adds up all states; nobody waits for anybody.

Rules.
- A file is replaced whole (`os.replace`), so a reader never sees half of one.
- What dead processes counted stays: a writer folds it into `ended.json`, by the name of each file, so that a crash in between
  counts nothing twice. Counters therefore do not fall when a worker is replaced. A writer that finds nobody alive, and nothing
  younger than five minutes, starts over at zero.
- A process that exits without closing anything writes a last time; one that is killed loses what it counted in its last second.
- A folder, or a lock, that is deleted under a process that lives is made anew at its next write.
- A folder that cannot be written costs no request: it is counted, and logged once.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import secrets
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from podium.observe.metrics import Metrics
from podium.observe.state import RING, SLICE_S, VERSION, State, combine

_SUFFIX = ".json"
_LOCK = ".lock"
_ENDED = "ended.json"
_NEW = ".new"
_FOLDING = "folding.lock"
_FOLD_EVERY_S = 30.0
_REST = 50
"""How many times as long as a write took the writer rests at least: it may have 2 % of a core, whatever there is to write."""
_WINDOW_S = RING * SLICE_S


class _Ended(msgspec.Struct, kw_only=True):
    """What dead processes counted."""

    version: int = VERSION
    state: State
    names: list[str] = []
    """Files that are in it and may still exist."""


class Found(NamedTuple):
    """What a folder holds."""

    states: list[State]
    live: int
    """Processes that are alive."""
    unreadable: list[str]
    """Files that are no metrics of this version."""


def read_folder(folder: Path) -> Found:
    """Read the metrics of all processes of a folder. A folder that does not exist holds none. Raises `OSError`."""
    for _ in range(5):
        found, is_whole = _read_once(folder)
        if is_whole:
            break
    return found


def _read_once(folder: Path) -> tuple[Found, bool]:
    """Read all files, and say whether none was folded away meanwhile."""
    names = _names(folder)  # before what has ended: a file that is folded later is found missing, one folded before is in there
    ended = _read_ended(folder)
    states = [] if ended is None else [ended.state]
    unreadable: list[str] = []
    live, is_whole = 0, True
    for name in names:
        if ended is not None and name in ended.names:
            continue
        try:
            state = _read_state(folder / name)
        except FileNotFoundError:
            is_whole = False
            continue
        if state is None:
            unreadable.append(name)
            continue
        if _is_alive(folder, name):
            live += 1
        else:
            state.end()
        states.append(state)
    return Found(states, live, unreadable), is_whole


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIX) and name != _ENDED)
    except FileNotFoundError:
        return []


def _read_state(path: Path) -> State | None:
    """Read one file; None where it is no state of this version. Raises `FileNotFoundError`."""
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return state if state.version == VERSION else None


def _read_ended(folder: Path) -> _Ended | None:
    try:
        ended = msgspec.json.decode((folder / _ENDED).read_bytes(), type=_Ended)
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return ended if ended.version == VERSION else None


def _is_alive(folder: Path, name: str) -> bool:
    """Say whether the writer of a file lives: whether it holds its lock, or runs, where that was deleted."""
    try:
        descriptor = os.open(folder / (name.removesuffix(_SUFFIX) + _LOCK), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return _runs(name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _runs(name: str) -> bool:
    """Say whether there is a process of the number that a file's name begins with."""
    try:
        os.kill(int(name.partition("-")[0]), 0)
    except PermissionError:  # another user's
        return True
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    return True


def fold(folder: Path, now: float) -> None:
    """Fold what dead processes counted into one file; a folder where nobody lives, and lately nobody did, starts over.

    Does nothing where another process is at it. Raises `OSError`.
    """
    descriptor = os.open(folder / _FOLDING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _fold(folder, now)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def _fold(folder: Path, now: float) -> None:
    names = _names(folder)
    ended = _read_ended(folder)
    known = [] if ended is None else ended.names
    dead = [name for name in names if name in known or not _is_alive(folder, name)]
    states = [] if ended is None else [ended.state]
    done = [name for name in dead if name in known]
    for name in dead:
        if name not in known and (state := _read_state(folder / name)) is not None:  # None: left to who can read it
            state.end()
            states.append(state)
            done.append(name)
    if len(dead) == len(names) and all(state.written_at < now - _WINDOW_S for state in states):
        (folder / _ENDED).unlink(missing_ok=True)
    elif done or known:
        _replace(folder / _ENDED, msgspec.json.encode(_Ended(state=combine(states, now), names=done)))
    for name in done:
        (folder / name).unlink(missing_ok=True)
    _sweep(folder, now)


def _sweep(folder: Path, now: float) -> None:
    """Delete the locks of files that are gone, and what its maker died over before it had a name."""
    for name in os.listdir(folder):
        path = folder / name
        with suppress(FileNotFoundError):  # its maker was faster
            orphan = name.endswith(_LOCK) and name != _FOLDING and not path.with_suffix(_SUFFIX).exists()
            if (orphan and not _is_alive(folder, path.with_suffix(_SUFFIX).name)) or (
                name.endswith(_NEW) and path.stat().st_mtime < now - _WINDOW_S
            ):
                path.unlink()


def _replace(path: Path, data: bytes) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}{_NEW}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(fresh, path)
    except OSError:
        with suppress(OSError):  # the first error is the one to tell
            fresh.unlink(missing_ok=True)
        raise


class Publisher:
    """Writes a process's metrics into a folder, so that others see them: `start`, and `close` at the end.

    `every_s` is the shortest time between two writes.
    """

    def __init__(self, metrics: Metrics, folder: Path, *, every_s: float = 1.0) -> None:
        self._metrics = metrics
        self._folder = folder
        self._every_s = every_s
        self.failures = 0
        """How often the folder could not be written."""
        self._renew()
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forked(this()))
        self._at_exit = lambda: _exiting(this())
        atexit.register(self._at_exit)

    def _renew(self) -> None:
        self._name = f"{os.getpid()}-{time.time_ns() // 1000}-{secrets.token_hex(4)}"
        self._lock: int | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._folded_at = 0.0

    def start(self) -> None:
        """Begin to write whenever something was counted."""
        self._metrics.on_change = self._wake

    def _wake(self) -> None:
        self._changed.set()
        if self._thread is None:
            self._start_thread()

    def _start_thread(self) -> None:
        with self._starting:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._work, name="podium-metrics", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while not self._closing.is_set():
            self._changed.wait()
            self._changed.clear()
            began = time.perf_counter()
            self._write()
            self._closing.wait(max(self._every_s, (time.perf_counter() - began) * _REST))

    def _write(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._hold(self._folder / (self._name + _LOCK))
            now = time.time()
            if now - self._folded_at >= _FOLD_EVERY_S:
                fold(self._folder, now)
                self._folded_at = now
            _replace(self._folder / (self._name + _SUFFIX), self._metrics.encode_state())
        except OSError as error:
            self.failures += 1
            if self.failures == 1:
                logging.getLogger("podium").warning(
                    "The metrics cannot be written to %s: %s. Requests are not affected, but `podium metrics` does not see "
                    "this process; mend the folder, or turn sharing off.",
                    self._folder,
                    error.strerror,
                )

    def _hold(self, path: Path) -> None:
        """Hold the lock that stands there: without it the others would take this process for dead, and fold what it counts."""
        if self._lock is not None and not _stands(path, self._lock):
            os.close(self._lock)
            self._lock = None
        if self._lock is None:
            self._lock = _take_lock(path)

    def close(self) -> None:
        """Write a last time, and let go. What was counted stays in the folder."""
        atexit.unregister(self._at_exit)
        self._metrics.on_change = None
        with self._starting:
            self._closing.set()
        self._changed.set()
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        self._write()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _take_lock(path: Path) -> int:
    """Make a lock file that is locked when it appears under its name."""
    fresh = path.with_name(path.name + _NEW)
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(fresh, path)
    except OSError:
        os.close(descriptor)
        fresh.unlink(missing_ok=True)
        raise
    return descriptor


def _stands(path: Path, descriptor: int) -> bool:
    """Say whether an open file still stands at its path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _exiting(publisher: Publisher | None) -> None:
    """Write what was counted since the last time, where nobody closes it."""
    if publisher is not None:
        publisher.close()


def _forked(publisher: Publisher | None) -> None:
    """Begin anew in a process that was forked off: its parent's lock is not its own, and its threads are gone."""
    if publisher is not None:
        if publisher._lock is not None:
            os.close(publisher._lock)
        publisher._renew()
