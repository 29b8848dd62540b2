"""The store of climbs: evidence adds up, units count once for all, one process leads, and nothing is half written."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from podium.coordination.ramps import Picture, Sample, SqliteRamps
from podium.coordination.rollouts import SqliteRollouts, States
from podium.engine.ramp.hearing import News
from podium.engine.ramp.work import LEASE_S, RampWork
from podium.errors import StoreError
from podium.routing.climb import MEASURING, Climb, Course, Move, begin, stop, verdict_on
from podium.routing.guard import Baseline, Evidence, Guard, Observation, Ramp, Tally, merge
from podium.routing.rollout import Arm, Rollout, Stage

COURSE = Course(ramp=Ramp(steps=(50, 100), dwell_s=1.0), guard=Guard(margins={"error_rate": 0.05}))
SEED = Rollout(name="chat", legacy="openai/gpt-4o", candidate="tier:high")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rollouts.sqlite3"
    SqliteRollouts(path).open({"chat": SEED}, who="test")
    return path


@pytest.fixture
def ramps(path: Path) -> SqliteRamps:
    return SqliteRamps(SqliteRollouts(path))


def start(ramps: SqliteRamps, course: Course = COURSE) -> Climb:
    def make(rollout: Rollout, last: Climb | None) -> Move:
        return begin(rollout, course, 1 if last is None else last.number + 1, time.time())

    return ramps.begin("chat", make, who="test", why=None).climb


def news(unit: str, arm: Arm, failed: bool | None = False, *, step: int = 0, climb: int = 1) -> News:
    return News("chat", Stage(climb=climb, step=step), arm, unit, time.time(), failed, None if failed is None else 0.1)


def stepped(found: Picture) -> Move:
    climb = found.climb.replace(step=1)
    return Move(climb=climb, rollout=found.rollout.replace(percent=100, stage=climb.stage))


def drawn(ramps: SqliteRamps) -> tuple[int, int, int]:
    picture = ramps.picture("chat")
    assert picture is not None
    (found,) = picture.evidence.drawn
    return found.candidate, found.legacy, found.diverted


def test_a_file_without_the_tables_has_no_climb_and_gets_them_with_the_first(ramps: SqliteRamps) -> None:
    assert (ramps.picture("chat"), ramps.live()) == (None, [])
    with pytest.raises(LookupError):
        ramps.change("chat", lambda found: stop(found.climb, found.rollout, "jane", None), who="jane")
    climb = start(ramps)
    assert ramps.live() == [climb]


def test_a_picture_is_of_one_moment_though_the_ramp_steps_while_it_is_taken(path: Path, ramps: SqliteRamps) -> None:
    start(ramps)

    class Stepping(SqliteRollouts):
        """Lets the ramp step on between the reads of a climb and of its rollout."""

        def read(self, db: sqlite3.Connection) -> States:
            _, changed = ramps.change("chat", stepped, who="ramp")
            assert changed
            return super().read(db)

    picture = SqliteRamps(Stepping(path)).picture("chat")
    assert picture is not None
    assert (picture.climb.step, picture.rollout.percent) == (0, 50)
    assert picture.climb.stage == picture.rollout.stage
    picture = ramps.picture("chat")
    assert picture is not None
    assert (picture.climb.step, picture.rollout.percent) == (1, 100)


def test_a_climb_and_its_rollout_change_together_and_the_history_says_why(path: Path, ramps: SqliteRamps) -> None:
    climb = start(ramps)
    store = SqliteRollouts(path)
    change = store.history("chat", 1)[0]
    assert (change.action, change.after.percent, change.after.stage) == ("ramp", 50.0, climb.stage)
    assert change.why == "Began at 50 %."

    def broken(found: object) -> Move:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ramps.change("chat", broken, who="test")
    assert (ramps.live(), len(store.history("chat", 10))) == ([climb], 2)
    _, changed = ramps.change("chat", lambda found: Move(climb=found.climb, rollout=found.rollout), who="test")
    assert not changed
    assert len(store.history("chat", 10)) == 2


def test_what_many_workers_file_at_once_adds_up_to_what_one_would_have_seen(path: Path, ramps: SqliteRamps) -> None:
    climb = start(ramps)
    parts: list[Evidence] = []

    def work(worker: int) -> None:
        random, own = Random(worker), SqliteRamps(SqliteRollouts(path))
        for turn in range(10):
            tally = Tally(COURSE.guard, Baseline())
            for number in range(30):
                arm: Arm = "candidate" if random.random() < 0.5 else "legacy"
                one = Observation(arm=arm, unit_id=f"{worker}-{turn}-{number}", failed=random.random() < 0.2)
                tally.observe(one, step=0, at=climb.began_at, seen=set())
            evidence = tally.take()
            parts.append(evidence)
            own.add(climb, [f"{worker}-{turn}"], lambda fresh, evidence=evidence: evidence)  # type: ignore[misc]

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    picture = ramps.picture("chat")
    assert picture is not None
    whole = merge(parts)
    assert picture.evidence.drawn == whole.drawn
    (cell,), (expected,) = picture.evidence.cells, whole.cells
    assert cell.sums.blocks == expected.sums.blocks
    assert cell.sums.against == pytest.approx(expected.sums.against)
    assert cell.sums.candidate_sum == pytest.approx(expected.sums.candidate_sum)


def test_a_unit_counts_once_a_step_whichever_process_files_it(path: Path, ramps: SqliteRamps) -> None:
    start(ramps)
    one, other = RampWork(path), RampWork(path)
    one.beat(deque([news("jane", "candidate"), news("jane", "candidate", failed=True), news("joe", "legacy")]))
    other.beat(deque([news("jane", "candidate", failed=True), news("joe", "legacy"), news("ann", "legacy")]))
    assert drawn(ramps) == (1, 2, 0)
    other.beat(deque([news("jane", "candidate", failed=None)]))
    assert drawn(ramps) == (1, 2, 1)


def test_news_of_another_climb_is_let_go(path: Path, ramps: SqliteRamps) -> None:
    start(ramps)
    waiting = deque([news("jane", "candidate", climb=7), news("joe", "legacy", climb=0)])
    RampWork(path).beat(waiting)
    picture = ramps.picture("chat")
    assert picture is not None
    assert (picture.evidence, len(waiting)) == (Evidence(), 0)


def test_what_cannot_be_filed_is_kept_and_filed_later_once(path: Path, ramps: SqliteRamps) -> None:
    start(ramps)
    work, waiting = RampWork(path), deque([news("jane", "candidate"), news("joe", "legacy", failed=True)])
    work.beat(deque([news("first", "candidate")]))
    work.ramps._store.lock_wait_s = 0.2
    locked = sqlite3.connect(path, isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError):
        work.beat(waiting)
    assert [each.unit_id for each in waiting] == ["jane", "joe"]
    locked.execute("ROLLBACK")
    locked.close()
    work.beat(waiting)
    picture = ramps.picture("chat")
    assert picture is not None
    (cell,) = picture.evidence.cells
    assert (cell.sums.candidate_n, cell.sums.legacy_n, cell.sums.legacy_sum) == (2, 1, 1.0)  # the open block was kept too


def test_one_process_leads_and_another_only_when_its_lease_is_over_or_it_resigns(path: Path, ramps: SqliteRamps) -> None:
    start(ramps)
    assert ramps.lead("one", 100.0, 103.0)
    assert not ramps.lead("other", 102.9, 106.0)
    assert ramps.lead("one", 102.9, 105.9)
    assert ramps.lead("other", 105.9, 108.9)
    assert ramps.leader() == ("other", 108.9)
    ramps.resign("one")
    assert ramps.leader() == ("other", 108.9)
    ramps.resign("other")
    assert ramps.leader() is None


def test_of_two_that_work_side_by_side_one_judges_and_the_other_after_it_has_ended(path: Path, ramps: SqliteRamps) -> None:
    start(ramps)
    one, other = RampWork(path), RampWork(path)
    for _ in range(3):
        one.beat(deque())
        other.beat(deque())
    assert (one.leads, other.leads) == (True, False)
    one.end(deque())
    other.beat(deque())
    assert (one.leads, other.leads) == (False, True)


def test_a_lease_of_before_the_clock_was_set_back_keeps_nobody_from_judging(path: Path, ramps: SqliteRamps) -> None:
    start(ramps)
    later = time.time() + 3600.0
    assert ramps.lead("killed", later, later + LEASE_S)
    other = RampWork(path)
    other.beat(deque())
    assert other.leads
    leader = ramps.leader()
    assert leader is not None
    assert leader[1] < time.time() + 2 * LEASE_S


def test_legacys_answers_are_measured_once_a_unit_and_freeze_the_limits(path: Path, ramps: SqliteRamps) -> None:
    course = Course(ramp=Ramp(steps=(50, 100), samples=3), guard=Guard(margins={"latency": 0.1}))
    climb = start(ramps, course)
    assert climb.step == MEASURING
    ramps.measure(climb, ["a", "b", "a"], [Sample(1.0, None), Sample(2.0, 0.5), Sample(9.0, None)])
    picture = ramps.picture("chat")
    assert picture is not None
    assert (picture.measured.answers, picture.measured.latencies_s, picture.measured.costs_usd) == (2, (1.0, 2.0), (0.5,))
    work = RampWork(path)
    work.beat(deque([news("c", "legacy", step=MEASURING), news("d", "legacy", failed=True, step=MEASURING)]))
    picture = ramps.picture("chat")
    assert picture is not None
    assert (picture.climb.status, picture.climb.baseline.latency_s) == ("climbing", 2.0)
    assert picture.rollout.percent == 50


def test_a_new_climb_begins_without_the_evidence_of_the_last(path: Path, ramps: SqliteRamps) -> None:
    start(ramps)
    work = RampWork(path)
    work.beat(deque([news("jane", "candidate"), news("joe", "legacy")]))
    ramps.change("chat", lambda found: stop(found.climb, found.rollout, "jane", None), who="jane")
    SqliteRollouts(path).change("chat", "set", lambda rollout: rollout.replace(percent=0.0), who="jane", why=None)
    second = start(ramps)
    assert second.number == 2
    picture = ramps.picture("chat")
    assert picture is not None
    assert picture.evidence == Evidence()
    work.beat(deque([news("jane", "candidate", climb=2), news("joe", "legacy", climb=2)]))
    assert drawn(ramps) == (1, 1, 0)


def test_the_trace_of_a_long_climb_stays_short(path: Path, ramps: SqliteRamps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.coordination.ramps.TRACE_POINTS", 40)
    climb = start(ramps)
    work = RampWork(path)
    work.beat(deque([news("jane", "candidate"), news("joe", "legacy")]))
    picture = ramps.picture("chat")
    assert picture is not None
    at = climb.began_at
    for _ in range(400):
        at += 60
        verdict = verdict_on(climb, picture.rollout, picture.evidence, climb.began_at)
        assert verdict is not None
        ramps.mark(climb, verdict, 50.0, at)
    points = ramps.trace(climb)
    assert 40 < len(points) < 160
    assert points == sorted(points, key=lambda point: point.at)
    gaps = [later.at - earlier.at for earlier, later in pairwise(points)]
    assert max(gaps[:20]) <= 60
    assert max(gaps) < (at - climb.began_at) / 30


# --- what others do between two steps of the work --------------------------------------------------------------------------


class Overtaken(SqliteRamps):
    """Lets something happen once, right after the live climbs were read."""

    def __init__(self, path: Path, meanwhile: Callable[[], object]) -> None:
        super().__init__(SqliteRollouts(path))
        self.meanwhile: Callable[[], object] | None = meanwhile

    def live(self) -> list[Climb]:
        found = super().live()
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found


@pytest.mark.parametrize("ends", [False, True])
def test_news_of_a_step_that_another_process_takes_meanwhile_is_judged_by_its_limits(
    path: Path, ramps: SqliteRamps, ends: bool
) -> None:
    start(ramps, Course(ramp=Ramp(steps=(50, 100), samples=1), guard=Guard(margins={"latency": 0.1})))
    work, waiting = RampWork(path), deque[News]()

    def step() -> None:
        RampWork(path).beat(deque([news("old", "legacy", step=MEASURING)]))
        waiting.extend((news("jane", "candidate"), news("joe", "legacy")))

    work.ramps = Overtaken(path, step)
    work.beat(waiting)
    waiting.extend((news("ann", "candidate"), news("tom", "legacy")))
    work.end(waiting) if ends else work.beat(waiting)
    picture = ramps.picture("chat")
    assert picture is not None
    assert (picture.climb.step, picture.climb.baseline.latency_s) == (0, 0.1)
    (cell,) = picture.evidence.cells
    assert (cell.metric, cell.sums.candidate_n, cell.sums.legacy_n) == ("latency", 2, 2)


def test_what_is_heard_while_a_process_ends_is_filed_too(path: Path, ramps: SqliteRamps) -> None:
    start(ramps)
    work, waiting = RampWork(path), deque([news("jane", "candidate")])
    work.ramps = Overtaken(path, lambda: waiting.append(news("joe", "legacy")))
    work.end(waiting)
    assert drawn(ramps) == (1, 1, 0)


@pytest.mark.parametrize("course", [COURSE, Course(ramp=COURSE.ramp, guard=Guard(margins={"latency": 0.1}))])
def test_a_climb_that_is_ended_meanwhile_keeps_the_evidence_that_it_ended_with(
    path: Path, ramps: SqliteRamps, course: Course
) -> None:
    step = start(ramps, course).step
    work = RampWork(path)
    work.beat(deque([news("jane", "candidate", step=step), news("joe", "legacy", step=step)]))

    def ended() -> None:
        ramps.change("chat", lambda found: stop(found.climb, found.rollout, "jane", None), who="jane")

    before = ramps.picture("chat")
    work.ramps = Overtaken(path, ended)
    work.beat(deque([news("ann", "candidate", step=step), news("tom", "legacy", step=step)]))
    after = ramps.picture("chat")
    assert before is not None
    assert after is not None
    assert (after.climb.status, after.evidence, after.measured) == ("stopped", before.evidence, before.measured)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM climb_seen").fetchone() == (0,)
