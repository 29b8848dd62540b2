"""The work of a ramp in one process: files what was heard, and, where this process leads, judges and steps.

Theory. Once a second what was heard becomes evidence in the store. One process of all that share the store judges: it holds a
lease of a few seconds, so that where it dies the next one takes over before anybody notices. What it decides is written
together with the percentage, and reaches every process as any change does.

Rules.
- A worker's open blocks stay its own, and are lost with it: one a metric at most.
- News of a climb that is over, or of another climb than the one that runs, is let go.
- What could not be filed is kept, and filed with the next.
- A climb is looked at after the news that it is to take, for a worker judges by the limits that it has seen first.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

from podium.coordination.ramps import Picture, Sample, SqliteRamps
from podium.coordination.rollouts import SqliteRollouts
from podium.engine.ramp.hearing import News
from podium.errors import StoreError
from podium.routing.climb import MEASURING, Climb, Move, advance
from podium.routing.guard import Drawn, Evidence, Observation, Tally, merge

BEAT_S = 1.0
LEASE_S = 3.0
"""How long the leadership holds without being renewed."""
MOST_AT_ONCE = 5_000
"""News that is filed in one transaction."""
WHO = "ramp"
"""Who changes rollouts here, for their history."""
_log = logging.getLogger("podium.rollouts")


class RampWork:
    """What one process does for its climbs. For one thread."""

    def __init__(self, path: Path) -> None:
        self.ramps = SqliteRamps(SqliteRollouts(path))
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._tallies: dict[tuple[str, int, float], Tally] = {}
        self._missed: set[str] = set()
        self.leads = False

    def beat(self, news: deque[News]) -> None:
        """File what was heard; judge, where this process leads. Raises `StoreError`."""
        climbs = self._file_all(news)
        if not climbs:
            self.leads = False
            return
        now = time.time()
        leader = self.ramps.leader()
        mine = leader is not None and leader[0] == self._holder
        left_s = 0.0 if leader is None else leader[1] - now
        if left_s <= 0 or left_s > 2 * LEASE_S or (mine and left_s < LEASE_S / 2):
            mine = self.ramps.lead(self._holder, now, now + LEASE_S)
        if mine and not self.leads:
            _log.info("This process judges the ramps now: %s.", ", ".join(climbs))
        self.leads = mine
        for name in climbs if mine else ():
            self._judge(name)

    def end(self, news: deque[News]) -> None:
        """File what was heard last, and let another process lead. Raises `StoreError`."""
        while news:  # more may be heard meanwhile
            self._file_all(news)
        if self.leads:
            self.leads = False
            self.ramps.resign(self._holder)

    # --- filing ---------------------------------------------------------------------------------------------------------

    def _file_all(self, news: deque[News]) -> dict[str, Climb]:
        """File the news that is there; returns the climbs that are live.

        What comes after they were read is left: it may be of a step that they do not know, nor its limits.
        """
        waiting = len(news)
        climbs = {climb.rollout: climb for climb in self.ramps.live()}
        for first in range(0, waiting, MOST_AT_ONCE):
            self._file(climbs, news, min(waiting - first, MOST_AT_ONCE))
        return climbs

    def _file(self, climbs: dict[str, Climb], news: deque[News], most: int) -> None:
        """File some of the news, each climb's together."""
        some = [news.popleft() for _ in range(min(len(news), most))]
        by_climb: dict[tuple[str, int, bool], list[News]] = {}
        for each in some:
            by_climb.setdefault((each.rollout, each.stage.climb, each.stage.step == MEASURING), []).append(each)
        while by_climb:
            (name, number, measuring), heard = next(iter(by_climb.items()))
            climb = climbs.get(name)
            try:
                if climb is None:
                    self._miss(name)
                elif climb.number == number:
                    self._measure(climb, heard) if measuring else self._add(climb, heard)
            except StoreError:
                for left in by_climb.values():
                    news.extendleft(reversed(left))
                raise
            del by_climb[name, number, measuring]

    def _miss(self, name: str) -> None:
        """Tell, once, of a rollout that a climb set and whose climb is gone: its store was made again from the copy."""
        if name not in self._missed and self.ramps.picture(name) is None:
            self._missed.add(name)
            _log.warning(
                "The ramp of rollout %s is gone with its store: the percentage stays, and nothing guards it. "
                "Start it again: `podium rollout ramp %s start`.",
                name,
                name,
            )

    def _measure(self, climb: Climb, heard: Sequence[News]) -> None:
        """File legacy's answers before step 1."""
        answers = [each for each in heard if climb.step == MEASURING and each.arm == "legacy" and each.failed is False]
        if answers:
            samples = [Sample(each.latency_s, None if each.cost_usd is None else float(each.cost_usd)) for each in answers]
            self.ramps.measure(climb, [_observed(each).key(MEASURING) for each in answers], samples)

    def _add(self, climb: Climb, heard: Sequence[News]) -> None:
        """File evidence."""
        place = (climb.rollout, climb.number, climb.began_at)
        tally = self._tallies.get(place)
        if tally is None:
            self._tallies = {known: each for known, each in self._tallies.items() if known[0] != climb.rollout}
            tally = self._tallies[place] = Tally(climb.course.guard, climb.baseline)
        heard = [each for each in heard if not _is_left(each) or _was_slow(climb, each)]
        open_blocks = tally.open_blocks()
        observations = [_observed(each) for each in heard]
        keys = [_key(each, one) for one, each in zip(observations, heard, strict=True)]

        def sum_up(fresh: list[int]) -> Evidence:
            diverted: Counter[int] = Counter()
            for at in fresh:
                news = heard[at]
                if _is_diverted(news):
                    diverted[news.stage.step] += 1
                else:
                    tally.observe(observations[at], step=news.stage.step, at=news.at, seen=set())
            sent_away = Evidence(drawn=tuple(Drawn(step=step, diverted=count) for step, count in diverted.items()))
            return merge((tally.take(), sent_away))

        try:
            self.ramps.add(climb, keys, sum_up)
        except StoreError:
            self._tallies[place] = Tally(climb.course.guard, climb.baseline, open_blocks)
            raise

    # --- judging --------------------------------------------------------------------------------------------------------

    def _judge(self, name: str) -> None:
        """Work out what comes next for a climb, and do it."""
        picture = self.ramps.picture(name)
        if picture is None or not picture.climb.is_live:
            return
        now = time.time()
        planned = _next(picture, now)
        if planned.verdict is not None:
            self.ramps.mark(picture.climb, planned.verdict, picture.rollout.percent, now)
        if planned.climb == picture.climb and planned.rollout == picture.rollout:
            return
        move, changed = self.ramps.change(name, lambda found: _next(found, now), who=WHO)
        if changed:
            told = _log.warning if move.climb.status in ("rolled_back", "paused", "stopped") else _log.info
            told("Ramp %s is %s at %g %%: %s", name, move.climb.status.replace("_", " "), move.rollout.percent, move.why)


def _next(picture: Picture, at: float) -> Move:
    if not picture.climb.is_live:  # somebody ended it a moment ago
        return Move(climb=picture.climb, rollout=picture.rollout)
    return advance(picture.climb, picture.rollout, picture.evidence, picture.measured, at)


def _key(news: News, one: Observation) -> str:
    """Under what the store knows that this was counted."""
    return f"{news.stage.step}:diverted:{news.unit_id}" if _is_diverted(news) else one.key(news.stage.step)


def _is_diverted(news: News) -> bool:
    return news.failed is None and news.quality is None and news.latency_s is None


def _is_left(news: News) -> bool:
    return news.failed is None and news.latency_s is not None


def _was_slow(climb: Climb, news: News) -> bool:
    """Whether a caller who left had waited longer than the limit: then the call was slow, however it would have ended."""
    limit_s = climb.baseline.latency_s
    if limit_s is None or news.latency_s is None or "latency" not in climb.course.guard.margins:
        return False
    return news.latency_s > limit_s


def _observed(news: News) -> Observation:
    return Observation(
        arm=news.arm,
        unit_id=news.unit_id,
        failed=news.failed,
        latency_s=news.latency_s,
        cost_usd=news.cost_usd,
        quality=news.quality,
    )
