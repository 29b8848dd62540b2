import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ledger.made import closed, ended, request, requests, settled, started
from podium.errors import StoreError
from podium.ledger import frames, segments
from podium.ledger.journal import Journal
from podium.ledger.records import Payload, Record, Started


def _itself(record: Record) -> Record:
    return record


def files(folder: Path) -> list[Path]:
    return sorted((folder / "journal").iterdir())


def read_all(folder: Path) -> list[Record]:
    found: list[Record] = []
    for path in files(folder):
        data = path.read_bytes()
        assert frames.version_of(data) == frames.VERSION
        reading = frames.read(data, frames.HEADER_SIZE, final=True)
        assert (reading.corrupt, reading.torn) == (0, 0)
        found += reading.records
    return found


def test_an_appended_record_is_in_the_kernel_when_the_call_returns(folder: Path) -> None:
    journal = Journal(folder / "journal")
    records: tuple[Record, ...] = request()
    for number, record in enumerate(records, 1):
        journal.append(record)
        assert len(read_all(folder)) == number
    journal.close()


def test_a_journal_without_records_leaves_no_file(folder: Path) -> None:
    Journal(folder / "journal").close()
    assert files(folder) == []


def test_a_segment_is_sealed_at_its_size_and_the_next_is_locked_before_it_is_let_go(folder: Path) -> None:
    journal = Journal(folder / "journal", segment_bytes=2000)
    for record in requests(40):
        journal.append(record)
        # At any time the newest is locked: that is what says that the writer lives.
        newest = os.open(files(folder)[-1], os.O_RDONLY)
        assert segments.is_locked(newest)
        os.close(newest)
    assert len(files(folder)) > 3
    assert all(path.stat().st_size < 2500 for path in files(folder))
    assert read_all(folder) == list(requests(40))
    journal.close()
    last = os.open(files(folder)[-1], os.O_RDONLY)
    assert not segments.is_locked(last)
    os.close(last)


def test_records_of_many_threads_are_all_there_and_whole(folder: Path) -> None:
    journal = Journal(folder / "journal", segment_bytes=20_000)

    def work(first: int) -> None:
        for number in range(first, first + 100):
            for record in request(number):
                journal.append(record)

    threads = [threading.Thread(target=work, args=(1000 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    expected = [record for number in range(8) for each in range(100) for record in request(1000 * number + each)]
    assert sorted(map(repr, read_all(folder))) == sorted(map(repr, expected))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_writes_a_segment_of_its_own_and_lets_its_parents_go(folder: Path) -> None:
    journal = Journal(folder / "journal")
    journal.append(started(1))
    goes, gone = os.pipe()
    child = os.fork()
    if not child:
        journal.append(started(2))
        os.read(goes, 1)
        os._exit(0)
    os.close(goes)
    while len(files(folder)) < 2:
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    journal.close()
    ours, theirs = sorted(files(folder), key=lambda path: not path.name.startswith(f"{os.getpid()}-"))
    descriptors = [os.open(path, os.O_RDONLY) for path in (ours, theirs)]
    assert [segments.is_locked(each) for each in descriptors] == [False, True]
    os.write(gone, b".")
    os.waitpid(child, 0)
    assert not segments.is_locked(descriptors[1])
    for descriptor in (*descriptors, gone):
        os.close(descriptor)
    # Two segments that were begun in the same moment have no order.
    assert {each.request_id for each in read_all(folder) if hasattr(each, "request_id")} == {"request-1", "request-2"}


def test_a_group_is_synced_without_the_caller(folder: Path) -> None:
    journal = Journal(folder / "journal", fsync="group")
    journal.append(started())
    for _ in range(100):
        if journal.fsyncs:
            break
        threading.Event().wait(0.05)
    journal.close()
    assert journal.fsyncs >= 1


def test_never_is_never(folder: Path) -> None:
    journal = Journal(folder / "journal", fsync="never")
    journal.append(started())
    threading.Event().wait(0.25)
    journal.close()
    assert journal.fsyncs == 0


def gone(folder: Path) -> None:
    (folder / "journal").rename(folder / "away")


def back(folder: Path) -> None:
    (folder / "away").rename(folder / "journal")


def test_what_the_disk_does_not_take_waits_and_is_written_in_order_when_it_does(folder: Path) -> None:
    journal = Journal(folder / "journal")
    gone(folder)
    records = list(requests(5))
    for each in records:
        journal.append(each)
    assert (journal.deferred, journal.waiting, journal.lost) == (15, 15, 0)
    assert journal.problem == "No such file or directory"
    back(folder)
    journal.append(started(99))
    assert journal.waiting == 0
    assert journal.problem is None
    journal.close()
    assert read_all(folder) == [*records, started(99)]


def test_what_waits_is_written_even_if_nothing_follows(folder: Path) -> None:
    journal = Journal(folder / "journal")
    gone(folder)
    journal.append(started())
    back(folder)
    for _ in range(100):
        if not journal.waiting:
            break
        threading.Event().wait(0.05)
    journal.close()
    assert read_all(folder) == [started()]


def test_what_has_no_room_in_memory_is_counted_as_lost(folder: Path) -> None:
    journal = Journal(folder / "journal", deferred_bytes=1000)
    gone(folder)
    for record in requests(10):
        journal.append(record)
    assert journal.lost == 30 - journal.deferred
    assert 0 < journal.deferred < 30
    back(folder)
    journal.close()
    assert len(read_all(folder)) == journal.deferred


def test_refuse_refuses_an_attempt_before_it_is_sent_and_keeps_what_belongs_to_those_that_were(folder: Path) -> None:
    journal = Journal(folder / "journal", on_full="refuse")
    gone(folder)
    with pytest.raises(StoreError, match=r"openai/gpt-4o was not asked.*No such file") as caught:
        journal.append(started())
    assert caught.value.code == "ledger_full"
    assert journal.refused == 1
    journal.append(settled(started()))
    journal.append(ended(started()))
    assert journal.waiting == 2
    back(folder)
    journal.close()
    assert read_all(folder) == [settled(started()), ended(started())]


@pytest.mark.parametrize("on_full", ["continue", "refuse"])
def test_a_journal_that_has_its_size_is_full(folder: Path, on_full: str) -> None:
    journal = Journal(folder / "journal", on_full=on_full, most_bytes=500)  # type: ignore[arg-type]
    for record in requests(2):
        journal.append(record)
    for _ in range(100):
        if journal.problem:
            break
        threading.Event().wait(0.05)
    if on_full == "refuse":
        with pytest.raises(StoreError, match="500 bytes"):
            journal.append(started(5))
    else:
        journal.append(started(5))
        assert journal.waiting == 1
    journal.close()


def test_after_the_end_a_record_is_counted_as_lost(folder: Path) -> None:
    journal = Journal(folder / "journal")
    journal.append(started())
    journal.close()
    journal.close()
    journal.append(settled(started()))
    assert journal.lost == 1


def test_a_nameless_segment_of_a_dead_maker_is_swept_away_after_a_while(folder: Path) -> None:
    left = folder / "journal" / "1-2-3.00000001.journal.new"
    left.write_bytes(b"")
    made_at = left.stat().st_mtime
    segments.sweep(folder / "journal", made_at + 1)
    assert left.exists()
    segments.sweep(folder / "journal", made_at + 3600)
    assert not left.exists()


def test_records_that_are_handed_over_together_are_written_in_their_order_and_counted_each(folder: Path) -> None:
    journal = Journal(folder / "journal")
    first, settlement, end = request()
    journal.append(first)
    journal.append(settlement, end)
    assert journal.appended == 3
    assert read_all(folder) == [first, settlement, end]
    journal.close()


def test_a_write_of_several_records_that_is_torn_at_any_byte_was_never_made(folder: Path) -> None:
    journal = Journal(folder / "journal")
    journal.append(started())
    _, settlement, end = request()
    journal.append(settlement, end)
    journal.close()
    data = files(folder)[0].read_bytes()
    before = frames.HEADER_SIZE + len(frames.dump_frame(started()))
    for cut in range(before, len(data)):
        reading = frames.read(data[:cut], frames.HEADER_SIZE, final=True)
        assert reading.records == [started()]
        assert reading.torn == (cut != before)


def test_records_that_the_disk_does_not_take_together_wait_and_none_of_them_is_written_twice(folder: Path) -> None:
    journal = Journal(folder / "journal", on_full="refuse")
    gone(folder)
    _, settlement, end = request()
    journal.append(settlement, end)  # what was sent is never refused
    assert (journal.waiting, journal.deferred, journal.refused) == (2, 2, 0)
    back(folder)
    journal.append(settled(started(1)), ended(started(1)))
    journal.close()
    assert read_all(folder) == [settlement, end, settled(started(1)), ended(started(1))]


# --- gathering --------------------------------------------------------------------------------------------------------


@pytest.fixture
def gathering(folder: Path) -> Iterator[Journal]:
    """A journal that gathers, and whose keeper does not come by."""
    journal = Journal(folder / "journal", gathers=True)
    journal.append(started(0))
    yield journal
    journal.close()


@pytest.fixture
def no_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.ledger.journal.GROUP_S", 3600.0)


@pytest.mark.usefixtures("no_groups")
def test_what_is_gathered_is_written_in_one_frame_when_one_of_it_must_be(folder: Path, gathering: Journal) -> None:
    first, second = gathering.append(started(1)), gathering.append(closed(started(2)))
    assert read_all(folder) == [started(0)]
    gathering.hand_over(first)
    whole = frames.HEADER + frames.dump_frame(started(0)) + frames.dump_frame(started(1), closed(started(2)))
    assert files(folder)[0].read_bytes() == whole
    third = gathering.append(started(3))
    gathering.hand_over(second)
    assert files(folder)[0].read_bytes() == whole, "that one was written"
    gathering.hand_over(third)
    assert read_all(folder) == [started(0), started(1), closed(started(2)), started(3)]


@pytest.mark.usefixtures("no_groups")
def test_whoever_asks_how_far_the_journal_is_has_all_of_it_written(folder: Path, gathering: Journal) -> None:
    gathering.append(started(1))
    assert gathering.position() is not None
    assert len(read_all(folder)) == 2
    gathering.append(started(2))
    gathering.sync()
    assert len(read_all(folder)) == 3
    gathering.append(started(3))
    gathering.close()
    assert [each.request_id for each in read_all(folder) if isinstance(each, Started)] == [f"request-{n}" for n in range(4)]


@pytest.mark.usefixtures("no_groups")
def test_a_full_group_and_a_payload_wait_for_nobody(folder: Path, gathering: Journal) -> None:
    for number in range(1, 65):
        assert len(read_all(folder)) == 1
        gathering.append(started(number))
    assert len(read_all(folder)) == 65
    gathering.append(started(65))
    body = Payload(
        request_id="request-65", requested_at=1.0, attempt=1, kind="request", at=1.0, sha256=b"", size=9, body=b"." * 9
    )
    gathering.append_body(body)
    assert len(read_all(folder)) == 67
    assert files(folder)[0].read_bytes().endswith(frames.dump_frame(started(65)) + frames.dump_frame(body)), "a frame each"


def test_what_comes_after_the_end_is_counted_as_lost_where_records_are_gathered_too(gathering: Journal) -> None:
    gathering.close()
    gathering.append(started(1))
    gathering.append(closed(started(1)))
    assert gathering.lost == 2


@pytest.mark.usefixtures("no_groups")
def test_a_record_with_something_odd_in_it_is_written_as_its_text_and_costs_no_other(folder: Path, gathering: Journal) -> None:
    gathering.append(started(1))
    gathering.append(started(2, conversation=Path("there")))
    gathering.hand_over(gathering.append(started(3)))
    assert read_all(folder)[:2] + read_all(folder)[3:] == [started(0), started(1), started(3)]
    odd = read_all(folder)[2]
    assert isinstance(odd, Started)
    assert odd.conversation == "there"


@pytest.mark.usefixtures("no_groups")
def test_a_record_is_made_when_it_is_written_and_one_that_cannot_be_made_costs_no_other(
    folder: Path, gathering: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[int] = []

    def make() -> Record:
        made.append(1)
        return closed(started(1))

    def fail() -> Record:
        raise ValueError("no such fact")

    gathering.append(make)
    gathering.append(fail)
    last = gathering.append(started(2))
    assert made == []
    gathering.hand_over(last)
    assert made == [1]
    assert read_all(folder) == [started(0), closed(started(1)), started(2)]
    assert (gathering.lost, gathering.appended) == (1, 3)
    assert "no such fact" in caplog.text
    gathering.hand_over(gathering.append(fail))
    assert len(read_all(folder)) == 3
    assert gathering.lost == 2


def test_a_journal_that_gathers_nothing_makes_a_record_at_once(folder: Path) -> None:
    journal = Journal(folder / "journal")
    journal.append(lambda: closed(started(1)))
    assert read_all(folder) == [closed(started(1))]
    journal.close()


def test_whichever_thread_hands_over_no_record_is_left_behind_or_written_twice(
    folder: Path, gathering: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: set[str] = set()
    write = Journal._write

    def take_note(journal: Journal, frame: bytes) -> bool:
        time.sleep(0)  # a disk lets other threads run
        taken = write(journal, frame)
        written.update(each.request_id for each in frames.read(frame, final=True).records)
        return taken

    monkeypatch.setattr(Journal, "_write", take_note)
    late: list[str] = []

    def work(thread: int) -> None:
        for turn in range(400):
            record = started(1000 * (thread + 1) + turn)
            number = gathering.append(record if turn % 2 else partial(_itself, record))
            time.sleep(0)
            gathering.hand_over(number)
            if record.request_id not in written:
                late.append(record.request_id)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert late == []
    ids = [each.request_id for each in read_all(folder)]
    assert len(ids) == len(set(ids)) == 1 + 6 * 400


def test_what_nobody_asks_for_is_written_with_the_next_group(folder: Path, gathering: Journal) -> None:
    gathering.append(started(1))
    for _ in range(100):
        if len(read_all(folder)) == 2:
            break
        threading.Event().wait(0.05)
    assert len(read_all(folder)) == 2


@pytest.mark.usefixtures("no_groups")
def test_what_was_gathered_and_the_disk_does_not_take_waits_in_its_order(folder: Path) -> None:
    journal = Journal(folder / "journal", gathers=True, segment_bytes=1)  # each write begins a segment
    journal.append(started(0))
    gone(folder)
    journal.append(started(1))
    journal.hand_over(journal.append(closed(started(1))))
    assert (journal.deferred, journal.waiting) == (2, 2)
    back(folder)
    journal.hand_over(journal.append(started(2)))
    assert journal.waiting == 0
    journal.close()
    assert read_all(folder) == [started(0), started(1), closed(started(1)), started(2)]


@pytest.mark.usefixtures("no_groups")
def test_a_process_that_ends_without_closing_its_journal_has_handed_over_what_it_gathered(folder: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom ledger.made import started\nimport podium.ledger.journal as made\n"
        "made.GROUP_S = 3600.0\njournal = made.Journal(Path(sys.argv[1]), gathers=True)\n"
        "for number in range(3):\n    journal.append(started(number))\n"
    )
    tests = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", script, str(folder / "journal")], check=True, cwd=tests, timeout=60)
    assert read_all(folder) == [started(number) for number in range(3)]


@pytest.mark.usefixtures("no_groups")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_leaves_to_its_parent_what_the_parent_gathered(folder: Path, gathering: Journal) -> None:
    gathering.append(started(1))
    child = os.fork()
    if not child:
        gathering.hand_over(gathering.append(started(2)))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gathering.close()
    assert sorted(each.request_id for each in read_all(folder) if isinstance(each, Started)) == [
        f"request-{number}" for number in range(3)
    ]
