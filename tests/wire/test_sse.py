"""Server-Sent Events are read the same however their bytes are split, and written as the standard wants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.wire.sse import Parser, dump_event


def parse(*pieces: bytes) -> list[tuple[str | None, bytes]]:
    parser = Parser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_each_line_end_of_the_standard_ends_a_line(end: bytes) -> None:
    stream = end.join([b"event: ping", b"data: 1", b"", b"data: 2", b"", b""])
    assert parse(stream) == [("ping", b"1"), (None, b"2")]


def test_an_lf_after_a_cr_in_the_piece_before_is_the_same_line_end() -> None:
    assert parse(b"data: 1\r", b"\ndata: 2\r\n", b"\r", b"\n") == [(None, b"1\n2")]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b": OPENROUTER PROCESSING\n\ndata: 1\n\n", [(None, b"1")]),
        (b"\n\n\ndata: 1\n\n\n\ndata: 2\n\n", [(None, b"1"), (None, b"2")]),
        (b"data: 1\ndata:2\ndata:  3\n\n", [(None, b"1\n2\n 3")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [(None, b"1")]),
        (b"data: 1", [(None, b"1")]),
        (b"data: 1\n", [(None, b"1")]),
        (b"id: 7\nretry: 10\nevent: a\n\ndata: 1\n\n", [(None, b"1")]),
        (b"data\n\n", [(None, b"")]),
        (b"data: {}   \n\n", [(None, b"{}   ")]),
        (b"", []),
    ],
    ids=[
        "comment",
        "padding",
        "several data lines",
        "BOM",
        "no line end",
        "no blank line",
        "no data",
        "empty",
        "spaces",
        "nothing",
    ],
)
def test_what_surrounds_the_data_is_read_as_the_standard_says(stream: bytes, events: list[tuple[str | None, bytes]]) -> None:
    assert parse(stream) == events


def test_lines_that_are_no_field_are_kept_apart() -> None:
    parser = Parser()
    assert parser.feed(b'{\n "error": "no"\n}') + parser.close() == []
    assert b"".join(parser.stray) == b'{ "error": "no"}'


LINE = st.sampled_from(
    [b"data: {}", b"data:x", b"event: e", b": c", b"", b"", "data: žluť€😀".encode(), b"data", b"{", b"id: 1"]
)
STREAM = st.lists(st.tuples(LINE, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


@given(stream=STREAM, data=st.data())
def test_the_events_do_not_depend_on_the_split(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = parse(stream)
    assert parse(*pieces) == whole
    assert parse(*(stream[at : at + 1] for at in range(len(stream)))) == whole


@given(text=st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1), name=st.sampled_from([None, "ping"]))
def test_a_written_event_is_read_back(text: str, name: str | None) -> None:
    assert parse(dump_event(text.encode(), name)) == [(name, text.encode())]


def test_data_with_line_ends_is_written_as_several_lines() -> None:
    assert dump_event(b"1\n2\r\n3") == b"data: 1\ndata: 2\ndata: 3\n\n"
