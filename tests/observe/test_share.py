"""The metrics of several processes, over the files of a real folder."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from observe.making import ended
from podium.observe.metrics import Metrics
from podium.observe.share import Publisher, fold, read_folder
from podium.observe.state import make_report
from podium.routing.health import BreakerState
from waiting import wait_until

CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from observe.making import attempt, ended
from podium.observe.metrics import Metrics
from podium.observe.share import Publisher
metrics = Metrics()
publisher = Publisher(metrics, Path(sys.argv[1]), every_s=0.01)
publisher.start()
for _ in range(int(sys.argv[3])):
    metrics.observe(attempt(cost_pico=7))
    metrics.observe(ended())
if sys.argv[4] == "close":
    publisher.close()
else:
    print("counted", flush=True)
    time.sleep(600)
"""
FORKING = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from observe.test_share import total
from observe.making import ended
from podium.observe.metrics import Metrics
from podium.observe.share import Publisher, read_folder
from waiting import wait_until
folder = Path(sys.argv[1])
metrics = Metrics()
publisher = Publisher(metrics, folder, every_s=0.01)
publisher.start()
metrics.observe(ended())
wait_until(lambda: total(folder) == 1)
pid = os.fork()
if pid == 0:
    for _ in range(10):
        metrics.observe(ended())
    wait_until(lambda: read_folder(folder).live == 2)
    publisher.close()
    os._exit(0 if metrics.snapshot().overall.total.requests == 10 else 1)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
live = read_folder(folder).live
publisher.close()
print(status, live, total(folder))
"""
EXITING = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from observe.making import ended
from observe.test_share import total
from podium.observe.metrics import Metrics
from podium.observe.share import Publisher
from waiting import wait_until
folder = Path(sys.argv[1])
metrics = Metrics()
publisher = Publisher(metrics, folder, every_s=3600)
publisher.start()
metrics.observe(ended())
wait_until(lambda: total(folder) == 1)
for _ in range(6):
    metrics.observe(ended())
if os.fork() == 0:
    sys.exit()
os.wait()
"""
TESTS = str(Path(__file__).parents[1])


def run_child(folder: Path, count: int, end: str = "close") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), TESTS, str(count), end], stdout=subprocess.PIPE, text=True
    )


def total(folder: Path) -> int:
    return make_report(read_folder(folder).states).overall.total.requests


def publish(folder: Path, count: int) -> None:
    """Count in this process, and end."""
    metrics = Metrics()
    publisher = Publisher(metrics, folder)
    publisher.start()
    for _ in range(count):
        metrics.observe(ended())
    publisher.close()


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    found = read_folder(tmp_path / "metrics")
    assert (found.states, found.live, found.unreadable) == ([], 0, [])


def test_what_a_process_counts_is_seen_by_another_while_it_runs(tmp_path: Path) -> None:
    child = run_child(tmp_path, 50, "stay")
    try:
        wait_until(lambda: total(tmp_path) == 50)
        found = read_folder(tmp_path)
        report = make_report(found.states, processes=found.live)
        assert (report.processes, report.overall.total.attempts, report.overall.total.cost_pico) == (1, 50, 350)
        assert report.overall.total.latency_s is not None
    finally:
        child.kill()
        child.communicate()


def test_a_killed_process_is_known_to_be_dead_and_what_it_counted_stays(tmp_path: Path) -> None:
    child = run_child(tmp_path, 5, "stay")
    try:
        wait_until(lambda: total(tmp_path) == 5)
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    found = read_folder(tmp_path)
    assert found.live == 0
    assert total(tmp_path) == 5


def test_a_breaker_is_seen_as_long_as_its_process_lives_though_nothing_is_recorded_when_it_opens(tmp_path: Path) -> None:
    states: dict[str, BreakerState] = {"chat": "closed"}
    metrics = Metrics(breakers=lambda: states)
    publisher = Publisher(metrics, tmp_path, every_s=0.01)
    publisher.start()

    def down() -> int:
        return make_report(read_folder(tmp_path).states).breakers.get("chat", {}).get("open", 0)

    metrics.observe(ended())
    wait_until(lambda: total(tmp_path) == 1)
    states["chat"] = "open"
    metrics.touch()
    wait_until(lambda: down() == 1)
    publisher.close()
    assert (down(), total(tmp_path)) == (0, 1)
    fold(tmp_path, time.time())
    assert (down(), total(tmp_path)) == (0, 1)


def test_processes_add_up_and_those_that_ended_are_folded_without_a_count_lost_or_doubled(tmp_path: Path) -> None:
    children = [run_child(tmp_path, 20) for _ in range(3)]
    for child in children:
        child.communicate()
    assert len(list(tmp_path.glob("*-*.json"))) >= 1
    assert total(tmp_path) == 60
    for _ in range(2):  # the second finds nothing more to do
        fold(tmp_path, time.time())
        assert total(tmp_path) == 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ended.json", "folding.lock"]
    publish(tmp_path, 4)
    assert total(tmp_path) == 64
    found = read_folder(tmp_path)
    assert make_report(found.states).recent.total.requests == 64


def test_a_fold_that_died_before_it_deleted_counts_nothing_twice(tmp_path: Path) -> None:
    publish(tmp_path, 3)
    (file,) = tmp_path.glob("*-*.json")
    kept = file.read_bytes()
    fold(tmp_path, time.time())
    file.write_bytes(kept)
    assert total(tmp_path) == 3
    fold(tmp_path, time.time())
    assert total(tmp_path) == 3
    assert not file.exists()


def test_where_nobody_lives_and_lately_nobody_did_counting_starts_over(tmp_path: Path) -> None:
    publish(tmp_path, 3)
    fold(tmp_path, time.time() + 301)
    assert read_folder(tmp_path).states == []


def test_a_process_that_lives_keeps_what_others_counted_long_ago(tmp_path: Path) -> None:
    publish(tmp_path, 3)
    child = run_child(tmp_path, 1, "stay")
    try:
        wait_until(lambda: total(tmp_path) == 4)
        fold(tmp_path, time.time() + 3600)
        assert total(tmp_path) == 4
    finally:
        child.kill()
        child.communicate()


def test_files_that_are_no_metrics_are_named_and_left_alone(tmp_path: Path) -> None:
    publish(tmp_path, 2)
    (tmp_path / "1-2-torn.json").write_text('{"pid": 1, "star')
    (tmp_path / "1-2-newer.json").write_text('{"version": 99, "pid": 1, "started_at": 0.0, "written_at": 0.0}')
    found = read_folder(tmp_path)
    assert found.unreadable == ["1-2-newer.json", "1-2-torn.json"]
    fold(tmp_path, time.time())
    assert total(tmp_path) == 2
    assert (tmp_path / "1-2-newer.json").exists()


def test_a_process_that_was_forked_off_counts_for_itself_only(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path), TESTS], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "1", "11"]
    assert read_folder(tmp_path).live == 0
    assert total(tmp_path) == 11


def test_a_folder_that_cannot_be_written_is_logged_once_and_fails_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    metrics = Metrics()
    publisher = Publisher(metrics, blocked / "metrics", every_s=0.001)
    with caplog.at_level(logging.WARNING, logger="podium"):
        publisher.start()
        metrics.observe(ended())
        wait_until(lambda: publisher.failures >= 1)
        metrics.observe(ended())
        publisher.close()
    assert publisher.failures >= 2
    assert [record.getMessage().startswith("The metrics cannot be written to") for record in caplog.records] == [True]
    assert metrics.snapshot().overall.total.requests == 2


def test_nothing_is_written_where_nothing_is_counted(tmp_path: Path) -> None:
    publisher = Publisher(Metrics(), tmp_path / "metrics")
    publisher.start()
    publisher.close()
    assert list(tmp_path.iterdir()) == []


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "metrics"
    publish(folder, 1)
    assert {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())} == {0}


@pytest.mark.parametrize("lost", ["the folder", "the locks"])
def test_what_is_deleted_under_a_living_process_multiplies_no_count(tmp_path: Path, lost: str) -> None:
    folder = tmp_path / "metrics"
    metrics = Metrics()
    publisher = Publisher(metrics, folder, every_s=0.001)
    publisher.start()
    metrics.observe(ended())
    wait_until(lambda: total(folder) == 1)
    if lost == "the folder":
        shutil.rmtree(folder)
    else:
        for lock in folder.glob("*.lock"):
            lock.unlink()
    for count in (2, 3, 4):
        publisher._folded_at = 0.0  # it folds itself
        metrics.observe(ended())
        wait_until(lambda: total(folder) >= count)  # noqa: B023  it ends within this round
        fold(folder, time.time())
        assert (total(folder), read_folder(folder).live) == (count, 1)
    publisher.close()
    assert (total(folder), read_folder(folder).live) == (4, 0)


def test_what_others_fold_while_a_living_process_has_no_lock_is_counted_once(tmp_path: Path) -> None:
    metrics = Metrics()
    publisher = Publisher(metrics, tmp_path, every_s=0.001)
    publisher.start()
    metrics.observe(ended())
    wait_until(lambda: total(tmp_path) == 1)
    for lock in tmp_path.glob("[0-9]*.lock"):
        lock.unlink()
    fold(tmp_path, time.time())
    metrics.observe(ended())
    publisher.close()
    for _ in range(2):
        assert (total(tmp_path), read_folder(tmp_path).live) == (2, 0)
        fold(tmp_path, time.time())


def test_what_a_process_counts_last_is_written_when_it_exits_and_closes_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", EXITING, str(tmp_path), TESTS], check=True)
    assert (total(tmp_path), read_folder(tmp_path).live) == (7, 0)


def test_a_file_that_cannot_be_found_hides_no_other(tmp_path: Path) -> None:
    publish(tmp_path, 2)
    (tmp_path / "1-2-gone.json").symlink_to(tmp_path / "nowhere")
    assert total(tmp_path) == 2
