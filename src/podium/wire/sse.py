"""Server-Sent Events, read from bytes split anywhere and written.

Theory. A stream of events is lines; a line ends with LF, CRLF or CR, and a blank line ends an event (WHATWG HTML, section
9.2.6). Line ends are ASCII, so that bytes can be cut at them without decoding UTF-8 first; what is inside `data` stays bytes
for the JSON decoder.

Rules.
- The events do not depend on how the bytes were split: CR ends a line at once, and an LF that comes right after it is dropped,
  be it in the next piece.
- Comments, padding, `id`, `retry` and events without data give nothing. A byte order mark before the first line is dropped.
- Looser than the standard in two points, since providers are: `close` completes an event whose blank line is missing, and
  lines that are no field at all are kept in `stray` (an error body that was sent where a stream was asked for).
"""

from __future__ import annotations

_BOM = b"\xef\xbb\xbf"
_STRAY_LIMIT = 1 << 20


class Parser:
    """Cuts bytes into events: `feed` the pieces as they come, then `close`."""

    __slots__ = ("_begun", "_data", "_event", "_line", "_skip_lf", "_stray_left", "stray")

    def __init__(self) -> None:
        self._line: list[bytes] = []  # the pieces of a line that has not ended
        self._data: list[bytes] = []
        self._event: str | None = None
        self._begun = False
        self._skip_lf = False
        self._stray_left = _STRAY_LIMIT
        self.stray: list[bytes] = []
        """Lines that are no field and no comment, up to 1 MiB together."""

    def feed(self, piece: bytes) -> list[tuple[str | None, bytes]]:
        """Take the next bytes and return the events that they complete, each as (name or None, data)."""
        if self._skip_lf and piece:
            self._skip_lf = False
            if piece.startswith(b"\n"):
                piece = piece[1:]
        if b"\r" in piece:
            self._skip_lf = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in piece:
            if piece:
                self._line.append(piece)
            return []
        lines = piece.split(b"\n")
        if self._line:
            self._line.append(lines[0])
            lines[0] = b"".join(self._line)
            self._line.clear()
        if rest := lines.pop():
            self._line.append(rest)
        return self._take(lines)

    def close(self) -> list[tuple[str | None, bytes]]:
        """Say that no more bytes come, and return the event whose end was missing, if there is one."""
        lines = [b"".join(self._line), b""] if self._line else [b""]
        self._line.clear()
        return self._take(lines)

    def _take(self, lines: list[bytes]) -> list[tuple[str | None, bytes]]:
        events: list[tuple[str | None, bytes]] = []
        data = self._data
        if not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(_BOM)
        for line in lines:
            if not line:
                if data:
                    events.append((self._event, data[0] if len(data) == 1 else b"\n".join(data)))
                    data.clear()
                self._event = None
            elif line.startswith(b"data:"):
                data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"event:"):
                name = line[7:] if line[6:7] == b" " else line[6:]
                self._event = name.decode("utf-8", "replace") or None
            elif line == b"data":
                data.append(b"")
            elif not line.startswith((b":", b"id:", b"retry:")) and self._stray_left > 0:
                self._stray_left -= len(line)
                self.stray.append(line)
        return events


def dump_event(data: bytes, event: str | None = None) -> bytes:
    """Write one event; data that has line ends becomes several `data` lines, as the standard wants."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    if event is None:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data)
