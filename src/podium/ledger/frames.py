"""Records as bytes: a segment's header, and frames that show by themselves whether they are whole.

    segment = "PODJ" version:u16 0:u16 | frame ...
    frame   = 0xC5AB:u16 length:u32 crc32:u32 payload    (little-endian; the CRC of the payload begins with its length)
    payload = the records that were written together, an array in MessagePack

Theory. A process can die, and a disk can fill, in the middle of a write; so the last frame of a segment may be torn. A frame
counts only when its mark, its length and its CRC agree. What does not is skipped: reading goes on at the next place where
mark, length and CRC do agree, so that one bad frame costs what was written with it and not the rest of its segment.

Rules.
- `read` is pure: bytes in, records out. While the owner of a segment lives, an unfinished frame at the end is waited for.
- A payload that is whole but no records of this version counts as corrupt.
- Versions 1 to 3 have other records (`podium.ledger.older`); in 1 and 2 a payload is one record, not an array of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

import msgspec

from podium.ledger import older
from podium.ledger.facts import writable
from podium.ledger.records import Record

VERSION = 4
MAGIC = b"PODJ"
HEADER = MAGIC + struct.pack("<HH", VERSION, 0)
HEADER_SIZE = len(HEADER)

_MARK = 0xC5AB
_MARK_BYTES = struct.pack("<H", _MARK)
_HEAD = struct.Struct("<HII")
_UNPACK = _HEAD.unpack_from
HEAD_SIZE = _HEAD.size

LONGEST_PAYLOAD = 256 * 2**20
"""No frame is longer; a length beyond it is damage."""

_ARRAYS_SINCE = 3
_ARRAY_OF_ONE = b"\x91"
"""How it begins in MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md#array-format-family)."""

_ENCODE = msgspec.msgpack.Encoder().encode


_DECODE = msgspec.msgpack.Decoder(list[Record]).decode

Load = Callable[[bytes], list[Record]]
"""Makes records of a payload. Raises `msgspec.DecodeError`."""


def _load_single(payload: bytes) -> list[Record]:
    return older.load(_ARRAY_OF_ONE + payload)


def _load_any(payload: bytes) -> list[Record]:
    for load in (_DECODE, older.load):
        try:
            return load(payload)
        except msgspec.DecodeError:
            continue
    return _load_single(payload)


def loader_of(version: int | None) -> Load:
    """Return what makes records of the payloads of a version's segments; None: it is not known."""
    if version is None:
        return _load_any
    if version >= VERSION:
        return _DECODE
    return older.load if version >= _ARRAYS_SINCE else _load_single


class Reading(NamedTuple):
    """What a piece of a segment held."""

    records: list[Record]
    """All of a frame's, or none."""
    consumed: int
    """Bytes that need not be read again."""
    corrupt: int
    """Places where bytes had to be skipped to find the next frame."""
    torn: int
    """1 where the piece ends in an unfinished frame that nobody will finish."""


def dump_frame(*records: Record) -> bytes:
    """Return records as a frame."""
    try:
        payload = _ENCODE(records)
    except (UnicodeEncodeError, OverflowError, TypeError):
        payload = _ENCODE([writable((each.__struct_config__.tag, *msgspec.structs.astuple(each))) for each in records])
    size = len(payload)
    return _HEAD.pack(_MARK, size, crc32(payload, size)) + payload


def version_of(header: bytes) -> int | None:
    """Return the version that a segment's header tells; None where it is no header."""
    if len(header) < HEADER_SIZE or not header.startswith(MAGIC):
        return None
    version: int = struct.unpack_from("<H", header, len(MAGIC))[0]
    return version


def read(data: bytes, start: int = 0, *, final: bool, most: int = 2**62, load: Load = _DECODE) -> Reading:
    """Read the frames of a piece of a segment, from `start` on, where a frame begins.

    `final`: nothing will be added to it, so an unfinished frame at its end is torn; otherwise reading stops there, and
    `consumed` says where, counted from `start`. No frame is begun after `most` records; `load` makes
    them of payloads.
    """
    records: list[Record] = []
    at, end, corrupt, torn = start, len(data), 0, 0
    take, last_head = records.extend, end - HEAD_SIZE
    while at < end and len(records) < most:
        # What nearly every frame is comes first, in line: this loop is most of what draining costs Python.
        if at <= last_head:
            mark, size, checksum = _UNPACK(data, at)
            stop = at + HEAD_SIZE + size
            if mark == _MARK and stop <= end and size <= LONGEST_PAYLOAD:
                payload = data[at + HEAD_SIZE : stop]
                if crc32(payload, size) == checksum:
                    try:
                        take(load(payload))
                    except msgspec.DecodeError:
                        corrupt += 1
                    at = stop
                    continue
        unfinished = _payload_at(data, at, end) is None
        if unfinished and not final:
            break
        found = _next_frame(data, at + 1, end)
        if found is not None:
            corrupt += 1
            at = found
        elif final:
            if unfinished:
                torn = 1
            else:
                corrupt += 1
            at = end
        else:
            # Damage, and no frame behind it yet: the last bytes may be the beginning of one.
            break
    return Reading(records, at - start, corrupt, torn)


def size_told(head: bytes) -> int:
    """Return the size of a frame as its head tells it; 0 where it is no head."""
    if len(head) < HEAD_SIZE:
        return 0
    mark, size, _ = _HEAD.unpack_from(head)
    return HEAD_SIZE + int(size) if mark == _MARK and size <= LONGEST_PAYLOAD else 0


def resume(data: bytes) -> int | None:
    """Return where the next whole frame begins after the one at 0, which cannot be read; None: there is none yet."""
    return _next_frame(data, 1, len(data))


def _payload_at(data: bytes, at: int, end: int) -> bytes | bool | None:
    """The payload of the whole frame at this place; None: it is unfinished; False: there is none."""
    if end - at < HEAD_SIZE:
        return None if _MARK_BYTES.startswith(data[at : at + 2]) else False
    mark, size, checksum = _UNPACK(data, at)
    if mark != _MARK or size > LONGEST_PAYLOAD:
        return False
    stop = at + HEAD_SIZE + size
    if stop > end:
        return None
    payload = data[at + HEAD_SIZE : stop]
    return payload if crc32(payload, size) == checksum else False


def _next_frame(data: bytes, at: int, end: int) -> int | None:
    while (at := data.find(_MARK_BYTES, at)) >= 0:
        if isinstance(_payload_at(data, at, end), bytes):
            return at
        at += 1
    return None
