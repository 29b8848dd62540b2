"""The guard: its evidence to the printed digit, what merges, and what every verdict needs."""

from __future__ import annotations

import math
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.errors import RequestError
from podium.routing.eprocess import BETS, NOTHING, log_evidence, log_mean_exp, sample_ratio_p, stakes
from podium.routing.guard import (
    Baseline,
    Cell,
    Drawn,
    Evidence,
    Guard,
    Metric,
    Observation,
    OpenBlock,
    Ramp,
    Tally,
    freeze,
    losses,
    merge,
)
from podium.routing.rollout import Arm
from podium.routing.verdict import SAMPLE_RATIO_P, Verdict, find, judge
from podium.types import load

ONE_GAME = Guard(restart_s=None)
BASELINE = Baseline(latency_s=2.0, cost_usd=0.5)
EVERYTHING = Guard(margins={"error_rate": 0.01, "latency": 0.02, "cost": 0.1, "quality": 0.02})


def alternate(tally: Tally, blocks: int, *, fails: bool, step: int = 0, at: float = 0.0, name: str = "u") -> None:
    """Let so many blocks close: legacy answers, the candidate fails or answers."""
    for number in range(blocks):
        for arm, failed in (("legacy", False), ("candidate", fails)):
            one = Observation(arm="legacy" if arm == "legacy" else "candidate", unit_id=f"{name}-{arm}-{number}", failed=failed)
            assert tally.observe(one, step=step, at=at, seen=set())


def log_against(guard: Guard, evidence: Evidence, metric: Metric = "error_rate", ramp_began_at: float = 0.0) -> float:
    return find(guard, evidence, metric, step=0, ramp_began_at=ramp_began_at).log_against


# --- The statistics --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "block"), [(0.05, 8), (0.01, 11), (0.001, 14)])
def test_a_candidate_that_always_fails_is_found_out_at_the_block_of_the_vectors(alpha: float, block: int) -> None:
    guard = Guard(alpha=alpha, restart_s=None)
    tally = Tally(guard, BASELINE)
    alternate(tally, block - 1, fails=True, name="before")
    before = tally.take()
    assert not find(guard, before, "error_rate", step=0, ramp_began_at=0).alarmed
    alternate(tally, 1, fails=True, name="last")
    assert find(guard, merge((before, tally.take())), "error_rate", step=0, ramp_began_at=0).alarmed


def test_the_mixed_sequence_gives_the_sums_of_the_vectors() -> None:
    tally, seen = Tally(ONE_GAME, BASELINE), set[str]()
    sequence: list[tuple[Arm, bool]] = [
        ("candidate", True), ("legacy", False), ("candidate", False), ("legacy", False),
        ("candidate", True), ("legacy", False), ("legacy", True), ("candidate", False),
    ]  # fmt: skip
    for number, (arm, failed) in enumerate(sequence):
        tally.observe(Observation(arm=arm, unit_id=str(number), failed=failed), step=0, at=0, seen=seen)
    (cell,) = tally.take().cells
    assert [round(one, 6) for one in cell.sums.against[:3]] == [-1.688912, 0.115450, 0.145064]
    assert round(log_mean_exp(cell.sums.against), 6) == -0.033929
    assert (cell.sums.blocks, cell.sums.candidate_n, cell.sums.legacy_n) == (4, 4, 4)
    assert tally.open_blocks() == ()


@given(st.floats(0, 0.99))
def test_no_block_ruins_any_bet_of_either_side(margin: float) -> None:
    worst, best = -1 - margin, 1 - margin
    assert all(1 + stake * worst >= 0.05 - 1e-12 and 1 - stake * best >= 0.05 - 1e-12 for stake in stakes(margin))
    assert len(stakes(margin)) == BETS


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=10))
def test_log_mean_exp_lies_between_mean_and_most_and_never_overflows(logs: list[float]) -> None:
    assert max(logs) - math.log(len(logs)) - 1e-9 <= log_mean_exp(logs_of(logs)) <= max(logs) + 1e-9


def logs_of(logs: list[float]) -> tuple[float, ...]:
    return tuple(logs)


@given(st.floats(0, 1), st.floats(0.001, 0.3), st.floats(0, 0.3))
def test_a_block_at_the_margin_is_a_fair_bet_and_one_within_it_a_losing_one(base: float, margin: float, better: float) -> None:
    """The step of the proof that code can break: E[1 + lam (D - m)] <= 1 for every stake, over the outcomes of one block."""
    worse = min(base + margin, 1.0) - better
    chances = max(worse, 0.0), base
    for sign in (1, -1) if better == 0 and base + margin <= 1 else (1,):
        for stake in stakes(margin):
            expected = sum(
                (chances[0] if c else 1 - chances[0])
                * (chances[1] if t else 1 - chances[1])
                * (1 + sign * stake * (c - t - margin))
                for c in (0, 1)
                for t in (0, 1)
            )
            assert expected <= 1 + 1e-12


def test_the_games_of_all_epochs_share_one_capital() -> None:
    """By hand: three epochs; E = 1/2 E(1) + 1/6 E(2) + 1/12 E(3) + 1/4 of games that have not begun."""
    first, third = tuple(0.1 * k for k in range(BETS)), tuple(-0.2 * k for k in range(BETS))
    both = tuple(a + b for a, b in zip(first, third, strict=True))

    def mean(logs: tuple[float, ...]) -> float:
        return sum(map(math.exp, logs)) / BETS

    by_hand = mean(both) / 2 + mean(third) / 6 + mean(third) / 12 + 1 / 4
    assert log_evidence({7: first, 9: third}, 7) == pytest.approx(math.log(by_hand), abs=1e-12)


@given(st.integers(0, 500), st.integers(0, 50))
def test_capital_is_one_before_anything_was_bet(epoch: int, first: int) -> None:
    assert log_evidence({}, first) == 0.0
    assert log_evidence({first + epoch: NOTHING}, first) == pytest.approx(0, abs=1e-9)


def test_what_a_slow_clock_files_before_the_first_epoch_counts_as_the_first() -> None:
    some = tuple(0.3 for _ in range(BETS))
    assert log_evidence({4: some, 5: some}, 5) == log_evidence({5: tuple(0.6 for _ in range(BETS))}, 5)


def test_a_late_regression_need_not_repay_a_good_week() -> None:
    """After 2,000 good blocks one game alone has lost its stakes; the game of the present hour has not."""
    evidence = {}
    for guard in (ONE_GAME, Guard()):
        tally = Tally(guard, BASELINE)
        for hour in range(20):
            alternate(tally, 100, fails=False, at=3600.0 * hour, name=f"good{hour}")
        alternate(tally, 28, fails=True, at=3600.0 * 20, name="bad")
        evidence[guard.restart_s] = log_against(guard, tally.take())
    assert evidence[3600.0] >= Guard().alarm_at > evidence[None]


@pytest.mark.parametrize(
    ("candidate", "legacy", "share", "expected"),
    [(100, 900, 0.1, 1.0), (120, 880, 0.1, 0.0350), (60, 40, 0.5, 0.0455), (1, 99, 0.01, 1.0), (0, 20, 0.1, 1.0)],
)
def test_the_sample_ratio_is_the_chi_squared_test(candidate: int, legacy: int, share: float, expected: float) -> None:
    """Tables: chi-squared 4.444 has p 0.0350, 4.0 has 0.0455 (one degree of freedom); under 5 expected nothing is said."""
    assert sample_ratio_p(candidate, legacy, share) == pytest.approx(expected, abs=5e-5)


# --- Losses ----------------------------------------------------------------------------------------------------------


def test_each_metric_becomes_a_loss_from_0_to_1() -> None:
    whole = Observation(arm="candidate", unit_id="u", failed=False, latency_s=2.0, cost_usd=0.25, quality=0.9)
    assert losses(whole, BASELINE) == {"error_rate": 0.0, "latency": 0.0, "cost": 0.5, "quality": pytest.approx(0.1)}
    dear = whole.replace(failed=True, latency_s=2.1, cost_usd=9, quality=-1)
    assert losses(dear, BASELINE) == {"error_rate": 1.0, "cost": 1.0, "quality": 1.0}
    assert losses(whole.replace(latency_s=2.1), BASELINE)["latency"] == 1.0
    assert losses(whole, Baseline()) == {"error_rate": 0.0, "quality": pytest.approx(0.1)}
    assert losses(Observation(arm="legacy", unit_id="u"), BASELINE) == {}


@pytest.mark.parametrize(("cost", "loss"), [(0, 0.0), (0.0001, 1.0)])
def test_beside_a_legacy_that_costs_nothing_any_price_is_beyond_the_cap(cost: float, loss: float) -> None:
    assert losses(Observation(arm="candidate", unit_id="u", cost_usd=cost), Baseline(cost_usd=0.0)) == {"cost": loss}


def test_limits_are_legacys_95th_percentile_of_latency_and_99th_of_cost() -> None:
    values = [float(number) for number in range(1, 101)]
    Random(1).shuffle(values)
    assert freeze(values, [value**2 for value in values]) == Baseline(latency_s=95.0, cost_usd=9801.0)
    assert freeze([3.0], []) == Baseline(latency_s=3.0, cost_usd=None)
    assert freeze(values, [], latency_share=0.5).latency_s == 50.0


def test_a_dearer_candidate_is_found_out_where_every_call_of_legacys_costs_the_same() -> None:
    baseline = freeze([], [Decimal("0.01")] * 200)
    assert baseline.cost_usd == 0.02
    guard = Guard(margins={"cost": 0.1})
    tally = Tally(guard, baseline)
    prices: tuple[tuple[Arm, str], ...] = (("legacy", "0.01"), ("candidate", "0.02"))
    for number in range(60):
        for arm, price in prices:
            tally.observe(Observation(arm=arm, unit_id=f"{number}", cost_usd=Decimal(price)), step=0, at=0.0, seen=set())
    assert find(guard, tally.take(), "cost", step=0, ramp_began_at=0.0).alarmed


# --- Tallies, and what merges ----------------------------------------------------------------------------------------


def test_a_unit_counts_once_a_step_and_again_at_the_next() -> None:
    tally, seen = Tally(Guard(), BASELINE), set[str]()
    one = Observation(arm="candidate", unit_id="jane", failed=True)
    counted = [tally.observe(one, step=step, at=0, seen=seen) for step in (0, 0, 0, 1, 1, 0)]
    assert counted == [True, False, False, True, False, False]
    assert tally.take().drawn == (Drawn(step=0, candidate=1), Drawn(step=1, candidate=1))


def test_what_another_worker_saw_does_not_count_here() -> None:
    here, there, seen = Tally(Guard(), BASELINE), Tally(Guard(), BASELINE), set[str]()
    one = Observation(arm="legacy", unit_id="jane", failed=False)
    assert here.observe(one, step=0, at=0, seen=seen)
    assert not there.observe(one, step=0, at=0, seen=seen)
    assert there.take() == Evidence()


def test_a_judges_late_finding_counts_beside_the_request_it_is_about() -> None:
    tally, seen = Tally(EVERYTHING, BASELINE), set[str]()
    for arm in ("legacy", "candidate"):
        request = Observation(arm="legacy" if arm == "legacy" else "candidate", unit_id=arm, failed=False)
        assert tally.observe(request, step=0, at=0, seen=seen)
        found = Observation(arm=request.arm, unit_id=arm, quality=0.5)
        assert [tally.observe(found, step=0, at=0, seen=seen) for _ in range(2)] == [True, False]
    taken = tally.take()
    assert [cell.metric for cell in taken.cells] == ["error_rate", "quality"]
    assert taken.drawn == (Drawn(step=0, candidate=1, legacy=1),)  # a unit is not drawn again by being judged


BLOCKS = st.lists(
    st.tuples(
        st.integers(0, 2),  # the worker
        st.integers(0, 2),  # the step
        st.floats(0, 20_000),  # when
        st.lists(st.booleans(), min_size=1, max_size=3),  # the arm that came first, several times
        st.booleans(),
        st.floats(0, 5),
        st.booleans(),
    ),
    max_size=40,
)


@given(BLOCKS)
def test_the_merge_of_workers_that_saw_whole_blocks_is_one_worker_who_saw_them_all(blocks: list[Any]) -> None:
    workers, alone = [Tally(EVERYTHING, BASELINE) for _ in range(3)], Tally(EVERYTHING, BASELINE)
    parts = []
    for number, (worker, step, at, first, closing, latency, candidate_first) in enumerate(blocks):
        arms: list[Arm] = ["candidate", "legacy"] if candidate_first else ["legacy", "candidate"]
        outcomes = [(arms[0], failed) for failed in first] + [(arms[1], closing)]
        for place, (arm, failed) in enumerate(outcomes):
            one = Observation(
                arm=arm,
                unit_id=f"{number}-{place}",
                failed=failed,
                latency_s=latency,
                cost_usd=latency / 9,
                quality=latency / 7,
            )
            # Those that failed have no latency, so their blocks of latency may stay open: those are compared below, too.
            whole = one if not any(failed for _, failed in outcomes) else one.replace(latency_s=None)
            for tally in (workers[worker], alone):
                tally.observe(whole, step=step, at=at, seen=set())
        if number % 7 == 0:
            parts.append(workers[worker].take())
    parts += [worker.take() for worker in workers]
    merged, expected = merge(parts), alone.take()
    assert merged.drawn == expected.drawn
    assert alone.open_blocks() == () == tuple(block for worker in workers for block in worker.open_blocks())
    assert [(c.metric, c.step, c.epoch) for c in merged.cells] == [(c.metric, c.step, c.epoch) for c in expected.cells]
    for mine, other in zip(merged.cells, expected.cells, strict=True):
        assert (mine.sums.blocks, mine.sums.candidate_n, mine.sums.legacy_n) == (
            other.sums.blocks, other.sums.candidate_n, other.sums.legacy_n,
        )  # fmt: skip
        assert mine.sums.against == pytest.approx(other.sums.against, abs=1e-9)
        assert mine.sums.within == pytest.approx(other.sums.within, abs=1e-9)
        assert mine.sums.candidate_sum == pytest.approx(other.sums.candidate_sum, abs=1e-9)


@given(BLOCKS, st.integers(0, 60))
def test_a_tally_that_is_stopped_anywhere_and_started_again_has_lost_nothing(blocks: list[Any], stop: int) -> None:
    steady, kept, before = Tally(EVERYTHING, BASELINE), Tally(EVERYTHING, BASELINE), []
    arms: tuple[Arm, Arm] = ("legacy", "candidate")
    stream = [
        (Observation(arm=arm, unit_id=f"{number}-{place}", failed=failed, latency_s=latency), step, at)
        for number, (_, step, at, first, closing, latency, candidate_first) in enumerate(blocks)
        for place, (arm, failed) in enumerate([(arms[candidate_first], one) for one in first] + [(arms[0], closing)])
    ]
    for place, (one, step, at) in enumerate(stream):
        if place == stop:
            before.append(load(Evidence, kept.take().to_dict()))
            blocks_kept = msgspec.json.decode(msgspec.json.encode(kept.open_blocks()), type=tuple[OpenBlock, ...])
            kept = Tally(load(Guard, EVERYTHING.to_dict()), load(Baseline, BASELINE.to_dict()), blocks_kept)
        for tally in (steady, kept):
            tally.observe(one, step=step, at=at, seen=set())
    resumed, expected = merge([*before, kept.take()]), steady.take()
    assert resumed.drawn == expected.drawn
    assert kept.open_blocks() == steady.open_blocks()
    for mine, other in zip(resumed.cells, expected.cells, strict=True):
        assert (mine.metric, mine.step, mine.epoch, mine.sums.blocks) == (
            other.metric,
            other.step,
            other.epoch,
            other.sums.blocks,
        )
        assert mine.sums.against == pytest.approx(other.sums.against, abs=1e-9)


def test_evidence_survives_being_written_down() -> None:
    tally = Tally(EVERYTHING, BASELINE)
    alternate(tally, 3, fails=True)
    evidence = tally.take()
    assert msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence) == evidence
    assert merge([evidence, Evidence()]) == evidence


def test_a_block_is_filed_under_the_epoch_it_opened_in_and_the_step_it_belongs_to() -> None:
    tally, seen = Tally(Guard(), BASELINE), set[str]()
    tally.observe(Observation(arm="legacy", unit_id="a", failed=False), step=0, at=3599, seen=seen)
    tally.observe(Observation(arm="candidate", unit_id="b", failed=False), step=1, at=3601, seen=seen)
    assert tally.take().cells == ()  # the arms of two steps make no pair
    tally.observe(Observation(arm="candidate", unit_id="c", failed=False), step=0, at=3601, seen=seen)
    (cell,) = tally.take().cells
    assert (cell.step, cell.epoch) == (0, 0)


def test_an_incident_that_hits_both_arms_during_a_ramp_is_no_evidence() -> None:
    """A pooled comparison blames the candidate here: most of its requests fall into the incident, legacy's before it."""
    random, tally, guard = Random(11), Tally(Guard(), BASELINE), Guard()
    worst, parts, seen = 0.0, [], set[str]()
    for number in range(6000):
        share, fails = (0.05, 0.01) if number < 4000 else (0.5, 0.3)
        arm: Arm = "candidate" if random.random() < share else "legacy"
        one = Observation(arm=arm, unit_id=str(number), failed=random.random() < fails)
        tally.observe(one, step=int(number >= 4000), at=number, seen=seen)
        if number % 500 == 0:
            parts.append(tally.take())
            worst = max(worst, log_against(guard, merge(parts)))
    (before, after) = (merge([*parts, tally.take()]).cells[place].sums for place in (0, -1))
    assert worst < guard.alarm_at
    pooled = (before.candidate_sum + after.candidate_sum) / (before.candidate_n + after.candidate_n) - (
        before.legacy_sum + after.legacy_sum
    ) / (before.legacy_n + after.legacy_n)
    assert pooled > 0.1


# --- Verdicts --------------------------------------------------------------------------------------------------------

RAMP = Ramp()


def evidence_of(
    blocks: int, *, fails: bool = False, step: int = 0, drawn: tuple[int, int] | None = None, at: float = 0
) -> Evidence:
    tally = Tally(Guard(), BASELINE)
    alternate(tally, blocks, fails=fails, step=step, at=at)
    cells = tally.take().cells
    return Evidence(cells=cells, drawn=() if drawn is None else (Drawn(step=step, candidate=drawn[0], legacy=drawn[1]),))


def says(evidence: Evidence, *, step: int = 0, spent: float = 3600.0, ramp: Ramp = RAMP, guard: Guard | None = None) -> Verdict:
    return judge(guard or Guard(), ramp, evidence, step=step, ramp_began_at=0.0, step_began_at=0.0, at=spent)


def test_a_bad_candidate_rolls_back_at_once_before_any_dwell() -> None:
    verdict = says(evidence_of(15, fails=True), spent=1)
    assert verdict.action == "roll_back"
    assert "error rate" in verdict.reason
    assert "100.00% failed at the candidate (15 seen), 0.00% at legacy (15)" in verdict.words
    assert "rolls back at 100 to 1" in verdict.words


def test_a_good_candidate_waits_for_the_dwell_and_then_steps_on() -> None:
    good = evidence_of(1500)
    assert says(good, spent=1799).action == "hold"
    verdict = says(good, spent=1800)
    assert (verdict.action, verdict.reason) == ("step_on", "Step on to 5 %: the candidate is within every margin.")


def test_without_enough_evidence_it_holds_and_at_the_longest_dwell_pauses_and_says_so() -> None:
    little = evidence_of(20)
    assert says(little, spent=86_399).action == "hold"
    verdict = says(little, spent=86_400)
    assert verdict.action == "pause"
    assert "24 hours" in verdict.reason
    assert "error rate" in verdict.reason


def test_evidence_to_step_on_is_the_current_steps_alone() -> None:
    assert says(evidence_of(1500, step=0), step=1).action == "hold"


def test_evidence_to_roll_back_runs_over_all_steps() -> None:
    both = merge([evidence_of(8, fails=True, step=0), evidence_of(8, fails=True, step=1)])
    assert says(evidence_of(8, fails=True, step=1), step=1, spent=1).action == "hold"
    assert says(both, step=1, spent=1).action == "roll_back"


def test_a_metric_without_observations_passes_nothing() -> None:
    guard = Guard(margins={"error_rate": 0.01, "quality": 0.02})
    verdict = says(evidence_of(3000), guard=guard)
    assert verdict.action == "hold"
    assert "quality" in verdict.reason
    assert "nothing to compare" in verdict.words


def test_alpha_is_split_over_the_metrics_and_beta_is_not() -> None:
    assert EVERYTHING.alarm_at == pytest.approx(math.log(400))
    assert Guard().alarm_at == pytest.approx(math.log(100))
    assert EVERYTHING.pass_at == Guard().pass_at == pytest.approx(math.log(20))


def test_a_split_of_units_that_the_share_does_not_explain_pauses_from_the_dwell_on() -> None:
    odd = evidence_of(1500, drawn=(300, 9700))
    assert says(odd, spent=60).action == "hold"
    verdict = says(odd)
    assert verdict.action == "pause"
    assert "300 of 10,000 units" in verdict.reason
    assert verdict.sample_ratio_p < SAMPLE_RATIO_P
    assert says(evidence_of(1500, drawn=(110, 9890))).action == "step_on"
    assert judge(Guard(), RAMP, odd, step=0, ramp_began_at=0, step_began_at=0, at=3600, share=0.03).action == "step_on"


def test_the_last_step_is_guarded_to_the_end_by_the_holdout() -> None:
    assert RAMP.percent_at(5) == 99
    assert Ramp(holdout=0).percent_at(5) == 100
    assert says(evidence_of(1500, step=5), step=5, spent=1e9).action == "hold"
    assert says(evidence_of(20, step=5, fails=True), step=5, spent=1e9).action == "roll_back"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Guard(margins={}), "watches no metric"),
        (lambda: load(Guard, {"margins": {"error_rate": 2}}), "margin of error_rate is 2"),
        (lambda: Guard(alpha=0), "alpha is 0"),
        (lambda: Guard(beta=1), "beta is 1"),
        (lambda: Guard(restart_s=0), "restarts every 0"),
        (lambda: Ramp(steps=()), "steps are"),
        (lambda: Ramp(steps=(5, 5)), "steps are"),
        (lambda: Ramp(steps=(5, 101)), "steps are"),
        (lambda: Ramp(steps=(0, 50)), "steps are"),
        (lambda: Ramp(dwell_s=10, longest_s=5), "dwells 10 s"),
        (lambda: Ramp(holdout=100), "holds out 100 %"),
    ],
)
def test_a_wrong_setting_is_refused_in_words(wrong: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        wrong()
    assert caught.value.hint


def test_cells_of_one_key_add_and_others_stay_apart() -> None:
    evidence = evidence_of(2)
    doubled = merge([evidence, evidence, evidence_of(1, step=3)])
    assert [(cell.step, cell.sums.blocks) for cell in doubled.cells] == [(0, 4), (3, 1)]
    assert isinstance(doubled.cells[0], Cell)
