import random
import struct
from itertools import pairwise
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.made import closed, request, settled, started
from podium.ledger import Settled, Started, frames, start
from podium.ledger.facts import load_caller, load_labels
from podium.ledger.records import Payload, Record
from podium.types import Usage

RECORDS: list[Record] = [
    *request(1),
    *request(2, tags=("a", "b"), user_id=None),
    closed(started(3)),
    Payload(
        request_id="r", requested_at=1.0, attempt=1, kind="response", at=2.0, sha256=b"\0" * 32, size=9, body=b"\xab\xc5 body"
    ),
]
FRAMES = [frames.dump_frame(each) for each in RECORDS]
DATA = b"".join(FRAMES)


def test_what_is_written_is_read() -> None:
    assert frames.read(DATA, final=True) == (RECORDS, len(DATA), 0, 0)


@pytest.mark.parametrize("final", [False, True])
def test_a_segment_cut_at_any_byte_gives_all_whole_records_and_counts_one_torn_frame(final: bool) -> None:
    ends = [sum(map(len, FRAMES[: count + 1])) for count in range(len(FRAMES))]
    for cut in range(len(DATA) + 1):
        whole = sum(end <= cut for end in ends)
        boundary = ends[whole - 1] if whole else 0
        reading = frames.read(DATA[:cut], final=final)
        assert reading.records == RECORDS[:whole]
        assert reading.corrupt == 0
        assert reading.torn == (final and cut != boundary)
        assert reading.consumed == (cut if final else boundary)


def test_any_changed_byte_costs_at_most_one_record() -> None:
    chance = random.Random(7)
    for at in range(len(DATA)):
        spoiled = bytearray(DATA)
        spoiled[at] ^= 1 << chance.randrange(8)
        reading = frames.read(bytes(spoiled), final=True)
        assert len(reading.records) >= len(RECORDS) - 1
        assert all(each in RECORDS for each in reading.records)
        assert reading.corrupt + reading.torn == 1


@given(st.binary(max_size=60), st.integers(0, len(FRAMES)))
def test_rubbish_between_frames_is_skipped_and_counted_once(rubbish: bytes, place: int) -> None:
    data = b"".join(FRAMES[:place]) + rubbish + b"".join(FRAMES[place:])
    reading = frames.read(data, final=True)
    assert reading.records == RECORDS
    assert reading.corrupt + reading.torn == (1 if rubbish else 0)
    assert reading.consumed == len(data)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_to_their_end(data: bytes) -> None:
    reading = frames.read(data, final=True)
    assert reading.consumed == len(data)


@given(st.lists(st.integers(0, len(DATA)), max_size=8))
def test_pieces_give_the_same_records_as_the_whole(cuts: list[int]) -> None:
    kept, found = b"", []
    marks = [0, *sorted(cuts), len(DATA)]
    for begin, end in pairwise(marks):
        kept += DATA[begin:end]
        reading = frames.read(kept, final=False)
        found += reading.records
        kept = kept[reading.consumed :]
    assert found == RECORDS
    assert kept == b""


def test_a_frame_that_is_whole_but_no_record_of_this_version_counts_as_corrupt() -> None:
    payload = msgspec.msgpack.encode([99, "from the future"])
    frame = struct.pack("<HII", 0xC5AB, len(payload), crc32(payload, len(payload))) + payload
    reading = frames.read(frame + FRAMES[0], final=True)
    assert reading.records == RECORDS[:1]
    assert reading.corrupt == 1


def test_a_lone_surrogate_in_a_name_does_not_cost_the_record() -> None:
    reading = frames.read(frames.dump_frame(started(user_id="jane\ud800")), final=True)
    assert [load_caller(each.caller).user_id for each in reading.records if isinstance(each, Started)] == ["jane?"]


def test_an_integer_of_more_than_64_bits_does_not_cost_the_record() -> None:
    """Providers may send any, and what they say of usage beyond the usual is kept as it is."""
    usage = Usage(input=2**70, extra={"x": {"odd": 2**70, "odder": [-(2**70)]}})
    (read,) = frames.read(frames.dump_frame(settled(started(), usage=usage)), final=True).records
    assert isinstance(read, Settled)
    assert read.usage == Usage(input=2**63 - 1, extra={"x": {"odd": 2**70, "odder": [-(2**70)]}})


@pytest.mark.parametrize("count", [1, 15, 16, 64, 70_000])
def test_a_frame_holds_as_many_records_as_were_written_together(count: int) -> None:
    together = [started(number) for number in range(count)]
    frame = frames.dump_frame(*together)
    assert frames.read(frame, final=True) == (together, len(frame), 0, 0)


def test_a_header_tells_its_version_and_nothing_else_is_a_header() -> None:
    assert frames.version_of(frames.HEADER) == frames.VERSION
    assert frames.version_of(frames.HEADER[:-1]) is None
    assert frames.version_of(b"PK\x03\x04" + bytes(4)) is None


def test_a_string_of_somebodys_own_kind_costs_neither_its_record_nor_those_with_it() -> None:
    class Safe(str):
        __slots__ = ()

    odd = start(
        request_id="r", attempt=1, requested_at=1.0, started_at=1.0, provider="openai", model=Safe("m"), conversation=Safe("c"),
        user_id=Safe("jane"), tags=(Safe("a"),),
    )  # fmt: skip
    (first, second) = frames.read(frames.dump_frame(started(1), odd), final=True).records
    assert first == started(1)
    assert isinstance(second, Started)
    assert second.conversation == "c"
    assert (load_caller(second.caller).user_id, load_labels(second.labels).tags) == ("jane", ("a",))
