import os
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import pytest

from ledger.made import NOON, closed, drain_all, drainer_of, ended, request, requests, rows, settled, started
from podium.errors import StoreError
from podium.ledger import frames, segments
from podium.ledger.drainer import ASIDE_NAME, Drainer
from podium.ledger.journal import Journal
from podium.ledger.sqlite import FILE_NAME, SqliteStore
from podium.ledger.store import Batch


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    journal = Journal(folder / "journal", fsync="never")
    yield journal
    journal.close()


ATTEMPTS = "SELECT request_id, attempt, outcome, cost_pico FROM attempts ORDER BY started_us, request_id, attempt"
ENTRIES = "SELECT request_id, outcome, attempts FROM entries ORDER BY requested_us, request_id"
SUMS = "SELECT SUM(requests), SUM(attempts), SUM(unknown), SUM(cost_lo) FROM usage_by_model"


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "journal").iterdir())


def test_what_is_over_comes_into_the_store_while_its_process_lives(folder: Path, journal: Journal, drainer: Drainer) -> None:
    first = started(1)
    journal.append(first)
    drain_all(drainer)
    assert rows(folder, ATTEMPTS) == []
    journal.append(settled(first))
    drain_all(drainer)
    assert rows(folder, ATTEMPTS) == [("request-1", 1, "won", 5_000_000)]
    assert rows(folder, ENTRIES) == []
    journal.append(ended(first))
    drain_all(drainer)
    assert rows(folder, ENTRIES) == [("request-1", "ok", 1)]
    assert rows(folder, SUMS) == [(1, 1, 0, 5_000_000)]


def test_every_fact_of_an_attempt_and_of_an_entry_is_kept(folder: Path, journal: Journal, drainer: Drainer) -> None:
    first = started(
        3, role="judge", upstream_model="gpt-4o-2024", dialect="openai_chat", spec="tier:fast", experiment="mine",
        rollout="move", arm="candidate", conversation="c1", tags=("a", "b", "a"), streamed=True,
    )  # fmt: skip
    journal.append(
        settled(first, outcome="failed", error_code="stalled", first_content_s=0.25, estimated=True, finish_reason="length",
                upstream_id="chatcmpl-1", losses=2, context={"service_tier": "flex"})
    )  # fmt: skip
    journal.append(ended(first, outcome="stalled", rule="tier", strategy="race", spec="tier:fast", conversation="c1"))
    drain_all(drainer)
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        connection.row_factory = sqlite3.Row
        attempt = dict(connection.execute("SELECT * FROM attempts").fetchone())
        entry = dict(connection.execute("SELECT * FROM entries").fetchone())
    at = round((NOON + 3) * 1e6)
    assert attempt == {
        "started_us": at + 1000, "request_id": "request-3", "attempt": 1, "requested_us": at, "role": "judge",
        "provider": "openai", "model": "gpt-4o", "upstream_model": "gpt-4o-2024", "dialect": "openai_chat",
        "spec": "tier:fast", "tier": "fast", "experiment": "mine", "rollout": "move", "arm": "candidate", "user_id": "jane",
        "team": "blue", "conversation": "c1", "tags": '["a","b"]', "streamed": 1, "outcome": "failed",
        "error_code": "stalled", "duration_us": 500_000, "first_content_us": 250_000, "metered": 1, "input": 100,
        "output": 20, "cache_read": 7, "cache_write": 0, "cache_write_1h": 0, "reasoning": 3, "input_audio": 0,
        "output_audio": 0, "usage_more": "", "estimated": 1, "cost_pico": 5_000_000, "reserved_pico": 9_000_000,
        "price_version": "2026-02", "price_source": "bundled", "finish_reason": "length", "upstream_id": "chatcmpl-1",
        "losses": 2, "context": '{"service_tier":"flex"}',
    }  # fmt: skip
    assert entry == {
        "requested_us": at, "request_id": "request-3", "spec": "tier:fast", "rule": "tier", "strategy": "race",
        "tier": "fast", "experiment": "mine", "user_id": "jane", "team": "blue", "conversation": "c1",
        "tags": '["a","b"]', "provider": "openai", "model": "gpt-4o", "rollout": "move", "arm": "candidate",
        "outcome": "stalled", "duration_us": 600_000, "winner": 1, "attempts": 1,
    }  # fmt: skip


def test_an_attempt_whose_process_is_dead_is_unknown_at_its_reserved_cost(
    folder: Path, journal: Journal, drainer: Drainer
) -> None:
    for record in request(1):
        journal.append(record)
    journal.append(started(2))
    drain_all(drainer)
    assert rows(folder, ENTRIES) == [("request-1", "ok", 1)]
    journal.close()
    drain_all(drainer)
    assert rows(folder, ATTEMPTS) == [("request-1", 1, "won", 5_000_000), ("request-2", 1, "unknown", 9_000_000)]
    assert rows(folder, ENTRIES) == [("request-1", "ok", 1), ("request-2", "unknown", 1)]
    assert rows(folder, "SELECT * FROM counters") == [("unknown", 1)]
    assert left(folder) == []
    drain_all(drainer)
    assert rows(folder, "SELECT * FROM positions") == []


def test_a_request_that_had_its_answer_when_its_process_died_was_answered(
    folder: Path, journal: Journal, drainer: Drainer
) -> None:
    first, second = started(1), started(1, attempt=2)
    for record in (first, second, settled(first, outcome="failed", cost_pico=0), settled(second, duration_s=2.0)):
        journal.append(record)
    journal.close()
    drain_all(drainer)
    query = "SELECT outcome, winner, attempts, duration_us FROM entries"
    assert rows(folder, query) == [("ok", 2, 2, 2_002_000)]


def test_an_open_attempt_is_remembered_by_whoever_drains_next(folder: Path, journal: Journal) -> None:
    first = started(1)
    journal.append(first)
    for record in requests(0):
        journal.append(record)
    one, store = drainer_of(folder)
    drain_all(one)
    one.resign()
    store.close()
    journal.close()
    two, store = drainer_of(folder)
    drain_all(two)
    assert rows(folder, ATTEMPTS) == [("request-1", 1, "unknown", 9_000_000)]
    two.resign()
    store.close()


def test_a_segment_is_kept_as_long_as_something_that_began_in_it_is_open(folder: Path, drainer: Drainer) -> None:
    journal = Journal(folder / "journal", fsync="never", segment_bytes=1500)
    long = started(1000, at=NOON)
    journal.append(long)
    for record in requests(20):
        journal.append(record)
        drain_all(drainer)
    names = left(folder)
    assert names[0].endswith(".00000001.journal")
    assert len(names) == 2, "those between are in the store and gone"
    journal.append(settled(long))
    journal.append(ended(long))
    drain_all(drainer)
    assert len(left(folder)) == 1
    journal.close()
    drain_all(drainer)
    assert left(folder) == []
    assert rows(folder, "SELECT COUNT(*), SUM(outcome = 'unknown') FROM attempts") == [(21, 0)]


class Dying(SqliteStore):
    """A store whose process dies right after its commit: the drainer never learns of it."""

    def apply(self, batch: Batch) -> None:
        super().apply(batch)
        raise KeyboardInterrupt


def test_a_batch_that_was_committed_before_its_segment_was_deleted_is_not_taken_twice(folder: Path) -> None:
    journal = Journal(folder / "journal", fsync="never")
    for record in requests(10):
        journal.append(record)
    journal.append(started(50))
    journal.close()
    drainer, store = drainer_of(folder)
    drainer._store = Dying(folder, fsync="never")
    with pytest.raises(KeyboardInterrupt):
        drainer.drain()
    drainer._store.close()
    drainer.resign()
    assert len(left(folder)) == 1
    before = rows(folder, ATTEMPTS), rows(folder, ENTRIES), rows(folder, SUMS)
    again, store = drainer_of(folder)
    drain_all(again)
    assert (rows(folder, ATTEMPTS), rows(folder, ENTRIES), rows(folder, SUMS)) == before
    assert left(folder) == []
    again.resign()
    store.close()


def test_a_segment_that_is_read_a_second_time_from_its_beginning_changes_nothing(folder: Path) -> None:
    journal = Journal(folder / "journal", fsync="never")
    for record in requests(10):
        journal.append(record)
    journal.append(started(50))
    journal.close()
    copy = (folder / "journal" / left(folder)[0]).read_bytes()
    name = left(folder)[0]
    for _ in range(2):
        drainer, store = drainer_of(folder)
        drain_all(drainer)
        drain_all(drainer)
        drainer.resign()
        store.close()
        state = rows(folder, ATTEMPTS), rows(folder, ENTRIES), rows(folder, SUMS)
        assert state[2] == [(11, 11, 1, 59_000_000)]
        (folder / "journal" / name).write_bytes(copy)


def test_a_torn_last_frame_of_a_dead_process_is_skipped_and_counted(folder: Path, drainer: Drainer) -> None:
    whole = frames.dump_frame(settled(started(1)))
    for cut in (1, 5, len(whole) // 2, len(whole) - 1):
        path = folder / "journal" / f"1-1-{cut}.00000001.journal"
        path.write_bytes(frames.HEADER + frames.dump_frame(started(cut)) + whole[:cut])
    drain_all(drainer)
    assert len(rows(folder, ATTEMPTS)) == 4
    assert sorted(rows(folder, "SELECT * FROM counters")) == [("torn", 4), ("unknown", 4)]
    assert left(folder) == []


def test_an_unfinished_frame_of_a_living_process_is_waited_for(folder: Path, drainer: Drainer) -> None:
    descriptor = segments.create_segment(folder / "journal", segments.Segment("1-1-1", 1))
    whole = frames.dump_frame(settled(started(1)))
    for at in range(0, len(whole), 40):
        assert rows(folder, ATTEMPTS) == [] if at > 40 else True
        os.write(descriptor, whole[at : at + 40])
        drain_all(drainer)
    assert len(rows(folder, ATTEMPTS)) == 1
    assert rows(folder, "SELECT * FROM counters") == []
    os.close(descriptor)


def test_a_damaged_length_in_a_living_segment_does_not_hold_up_what_follows(folder: Path, drainer: Drainer) -> None:
    descriptor = segments.create_segment(folder / "journal", segments.Segment("1-1-1", 1))
    spoiled = bytearray(frames.dump_frame(settled(started(1))))
    spoiled[4] = 0x10  # a length of about a megabyte
    os.write(descriptor, spoiled)
    for number in range(2, 6):
        os.write(descriptor, frames.dump_frame(settled(started(number))))
        drain_all(drainer)
    assert [row[0] for row in rows(folder, ATTEMPTS)] == ["request-2", "request-3", "request-4", "request-5"]
    assert rows(folder, "SELECT * FROM counters") == [("corrupt", 1)]
    os.close(descriptor)


def test_damage_in_the_middle_of_a_large_segment_costs_what_it_hit_and_no_more(folder: Path, drainer: Drainer) -> None:
    data = bytearray(frames.HEADER + b"".join(frames.dump_frame(settled(started(number))) for number in range(12_000)))
    middle = len(data) // 2
    data[middle : middle + 700_000] = bytes(700_000)  # longer than what is read at once
    (folder / "journal" / "1-1-1.00000001.journal").write_bytes(data)
    drain_all(drainer)
    kept = len(rows(folder, ATTEMPTS))
    lost = 700_000 // len(frames.dump_frame(settled(started(1000))))
    assert 12_000 - lost - 3 <= kept <= 12_000 - lost
    assert rows(folder, "SELECT * FROM counters") == [("corrupt", 1)]


def test_a_segment_of_a_newer_version_is_left_alone(folder: Path, drainer: Drainer) -> None:
    newer = folder / "journal" / "1-1-1.00000001.journal"
    newer.write_bytes(b"PODJ\x05\x00\x00\x00" + frames.dump_frame(started(1)))
    drain_all(drainer)
    assert newer.exists()
    assert not (folder / FILE_NAME).exists() or rows(folder, ATTEMPTS) == []


def old_started(number: int) -> list[Any]:
    """What versions 1 to 3 of segments have of an attempt that is about to be sent."""
    at = NOON + number
    names = ["openai", "gpt-4o", "answer", None, None, None, "fast", None, None, None, "jane", "blue", None, ["a"]]
    return [1, f"request-{number}", 1, at, at + 0.001, *names, False, 9_000_000]


def old_settled(number: int) -> list[Any]:
    usage = {"input": 100, "output": 20, "cache_read": 7}
    return [
        2,
        old_started(number),
        "won",
        0.5,
        None,
        None,
        usage,
        5_000_000,
        "2026-02",
        "bundled",
        False,
        "stop",
        "id",
        0,
        None,
    ]


def old_closed(number: int) -> list[Any]:
    return [5, old_settled(number), "ok", 0.6, "tier", "race", True, 1]


def frame_of_old(record: object) -> bytes:
    """A frame as versions 1 and 2 of segments have it: one record, and no array."""
    payload = msgspec.msgpack.encode(record)
    return struct.pack("<HII", 0xC5AB, len(payload), crc32(payload, len(payload))) + payload


def test_a_segment_of_version_1_is_read_as_it_always_was(folder: Path, drainer: Drainer) -> None:
    older = b"PODJ\x01\x00\x00\x00" + b"".join(
        frame_of_old(each) for each in (old_started(1), old_settled(1), ended(started(1)), old_started(2))
    )
    (folder / "journal" / "1-1-1.00000001.journal").write_bytes(older)
    drain_all(drainer)
    assert rows(folder, ATTEMPTS) == [("request-1", 1, "won", 5_000_000), ("request-2", 1, "unknown", 9_000_000)]
    assert rows(folder, "SELECT request_id, outcome FROM entries") == [("request-1", "ok"), ("request-2", "unknown")]
    assert rows(folder, "SELECT * FROM counters") == [("unknown", 1)]
    assert left(folder) == []


def test_a_segment_of_version_2_is_read_on_where_another_drainer_had_come_to(folder: Path) -> None:
    descriptor = segments.create_segment(folder / "journal", segments.Segment("1-1-1", 1))
    with (folder / "journal" / left(folder)[0]).open("r+b") as file:
        file.write(b"PODJ\x02\x00\x00\x00")
    os.write(descriptor, frame_of_old(old_started(1)) + frame_of_old(old_closed(2)))
    drainer, store = drainer_of(folder)
    drain_all(drainer)
    assert rows(folder, ATTEMPTS) == [("request-2", 1, "won", 5_000_000)]
    drainer.resign()
    store.close()
    os.close(descriptor)
    drainer, store = drainer_of(folder)
    drain_all(drainer)
    drainer.resign()
    store.close()
    assert rows(folder, ATTEMPTS) == [("request-1", 1, "unknown", 9_000_000), ("request-2", 1, "won", 5_000_000)]
    assert left(folder) == []


def frame_of_3(*records: object) -> bytes:
    payload = msgspec.msgpack.encode(records)
    return struct.pack("<HII", 0xC5AB, len(payload), crc32(payload, len(payload))) + payload


def test_every_fact_in_a_segment_of_version_3_is_kept(folder: Path, drainer: Drainer) -> None:
    data = b"PODJ\x03\x00\x00\x00" + frame_of_3(old_started(1), old_closed(1), old_started(2), old_settled(2))
    (folder / "journal" / "1-1-1.00000001.journal").write_bytes(data)
    drain_all(drainer)
    facts = (
        "provider, tier, user_id, team, tags, input, output, cache_read, cost_pico, price_version, finish_reason, upstream_id"
    )
    same = ("openai", "fast", "jane", "blue", '["a"]', 100, 20, 7, 5_000_000, "2026-02", "stop", "id")
    assert rows(folder, f"SELECT {facts} FROM attempts") == [same, same]
    told = "SELECT request_id, outcome, rule, strategy, winner, duration_us FROM entries ORDER BY request_id"
    assert rows(folder, told) == [("request-1", "ok", "tier", "race", 1, 600_000), ("request-2", "ok", "", "", 1, 501_000)]


def test_a_frame_whose_attempt_turns_out_to_be_no_record_counts_as_corrupt(folder: Path, drainer: Drainer) -> None:
    frame = frame_of_3([6, "request-1", 1, NOON, "not an instant", b"", b"", b""])
    (folder / "journal" / "1-1-1.00000001.journal").write_bytes(frames.HEADER + frame + frames.dump_frame(started(2)))
    drain_all(drainer)
    assert rows(folder, ATTEMPTS) == [("request-2", 1, "unknown", 9_000_000)]
    assert sorted(rows(folder, "SELECT * FROM counters")) == [("corrupt", 1), ("unknown", 1)]
    assert left(folder) == []


@pytest.mark.parametrize(
    "frame", [frames.dump_frame(settled(started(1))), frame_of_3(old_settled(1)), frame_of_old(old_settled(1))]
)
def test_a_segment_without_its_header_still_gives_its_frames(folder: Path, drainer: Drainer, frame: bytes) -> None:
    path = folder / "journal" / "1-1-1.00000001.journal"
    path.write_bytes(bytes(8) + frame)
    drain_all(drainer)
    assert len(rows(folder, ATTEMPTS)) == 1
    assert rows(folder, "SELECT * FROM counters") == [("corrupt", 1)]


def test_only_one_of_several_drains_and_the_next_follows_at_once(folder: Path, drainer: Drainer) -> None:
    other = Drainer(folder / "journal", folder / "drainer.lock", SqliteStore(folder))
    assert drainer.elected
    assert not other.elect()
    drainer.resign()
    assert other.elect()
    assert not drainer.elect()
    other.resign()


class Troubled(SqliteStore):
    """A store that is in trouble as long as it is told to be."""

    trouble = True
    asked = 0

    def apply(self, batch: Batch) -> None:
        self.asked += 1
        if self.trouble:
            raise StoreError("The store is down.")
        super().apply(batch)


def test_what_the_store_does_not_take_is_given_again_and_what_came_meanwhile_with_it(folder: Path, journal: Journal) -> None:
    store = Troubled(folder, fsync="never")
    drainer = Drainer(folder / "journal", folder / "drainer.lock", store)
    drainer.elect()
    for record in requests(3):
        journal.append(record)
    for _ in range(3):
        with pytest.raises(StoreError):
            drainer.drain()
        for record in request(store.asked + 10):
            journal.append(record)
    assert drainer.problem == "The store is down."
    assert drainer.store_errors == 3
    store.trouble = False
    drain_all(drainer)
    assert drainer.problem is None
    assert rows(folder, SUMS) == [(6, 6, 0, 30_000_000)]
    drainer.resign()
    store.close()


def test_a_record_that_can_never_be_stored_is_set_aside_and_the_rest_goes_on(
    folder: Path, journal: Journal, drainer: Drainer
) -> None:
    huge = settled(started(7), losses=2**63)
    for record in (settled(started(6)), huge, settled(started(8)), ended(started(8))):
        journal.append(record)
    drain_all(drainer)
    assert [row[0] for row in rows(folder, ATTEMPTS)] == ["request-6", "request-8"]
    assert rows(folder, SUMS) == [(1, 2, 0, 10_000_000)]
    assert rows(folder, "SELECT * FROM counters") == [("set_aside", 1)]
    assert frames.read((folder / ASIDE_NAME).read_bytes(), final=True).records == [huge]


def test_a_record_that_is_in_the_journal_twice_is_in_the_store_once(folder: Path, journal: Journal, drainer: Drainer) -> None:
    for record in (*request(1), *request(1), *request(2)):
        journal.append(record)
    drain_all(drainer)
    assert rows(folder, SUMS) == [(2, 2, 0, 10_000_000)]
    assert rows(folder, "SELECT * FROM counters") == []


@pytest.mark.parametrize("child_first", [False, True])
def test_what_a_forked_child_ends_and_its_dead_parent_has_begun_counts_once(
    folder: Path, journal: Journal, drainer: Drainer, child_first: bool
) -> None:
    parent = Journal(folder / "journal", fsync="never")
    parent.append(started(1))
    steps: list[Callable[[], object]] = [parent.close, lambda: journal.append(closed(started(1)))]
    for step in reversed(steps) if child_first else steps:
        step()
        drain_all(drainer)
    assert rows(folder, "SELECT COUNT(*) FROM attempts") == [(1,)]
    assert rows(folder, "SELECT COUNT(*) FROM entries") == [(1,)]
    assert rows(folder, "SELECT SUM(requests), SUM(attempts) FROM usage_by_model") == [(1, 1)]


def test_an_end_that_comes_twice_without_its_beginning_counts_once(folder: Path, journal: Journal, drainer: Drainer) -> None:
    for record in (started(1), closed(started(1)), closed(started(1))):
        journal.append(record)
    drain_all(drainer)
    assert rows(folder, SUMS) == [(1, 1, 0, 5_000_000)]


def test_facts_that_cannot_be_read_cost_their_record_alone(folder: Path, drainer: Drainer) -> None:
    spoiled = [
        msgspec.structs.replace(closed(started(1)), ending=b"\xc1"),
        msgspec.structs.replace(closed(started(2)), route=b"\xc1"),
        msgspec.structs.replace(started(3), caller=b"\xc1"),
        msgspec.structs.replace(settled(started(4)), ending=b"\xc1"),
    ]
    written: list[Any] = [started(1), started(2), started(4), *spoiled, started(5), closed(started(5))]
    (folder / "journal" / "1-1-1.00000001.journal").write_bytes(frames.HEADER + frames.dump_frame(*written))
    drain_all(drainer)
    assert ("request-5", 1, "won", 5_000_000) in rows(folder, ATTEMPTS)
    assert dict(rows(folder, "SELECT * FROM counters"))["set_aside"] >= 3
