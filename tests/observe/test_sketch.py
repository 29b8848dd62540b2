"""The sketch keeps its bound, and merging is exact."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.observe.sketch import ACCURACY, Sketch

RANKS = (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0)
DURATIONS = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=300)
ANY = st.lists(st.one_of(st.just(0.0), st.floats(0.0, 1e300)), max_size=100)
CONVENTION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)


def sketch(values: list[float], limit: int = 2048) -> Sketch:
    made = Sketch(limit=limit)
    for value in values:
        made.add(value)
    return made


def exact(values: list[float], rank: float) -> float:
    return sorted(values)[math.floor(rank * (len(values) - 1))]


def test_the_accuracy_is_below_one_percent() -> None:
    assert ACCURACY < 0.01


@given(DURATIONS)
def test_every_quantile_is_within_the_accuracy_of_the_exact_one(values: list[float]) -> None:
    for rank, found in zip(RANKS, sketch(values).quantiles(RANKS), strict=True):
        assert found == pytest.approx(exact(values, rank), rel=ACCURACY * (1 + 1e-9))


@given(ANY, ANY, st.sampled_from([2048, 7, 1]))
def test_merging_is_the_same_as_sketching_the_union(first: list[float], second: list[float], limit: int) -> None:
    merged = sketch(first, limit)
    merged.merge(sketch(second, limit))
    union = sketch(first + second, limit)
    assert (merged.counts, merged.zeros, merged.count) == (union.counts, union.zeros, union.count)
    assert (merged.min, merged.max) == (union.min, union.max)
    assert merged.sum == pytest.approx(union.sum)


@given(ANY, ANY)
def test_what_is_merged_in_stays_as_it_is_and_apart(first: list[float], second: list[float]) -> None:
    other = sketch(second)
    before = msgspec.json.encode(other)
    merged = sketch(first)
    merged.merge(other)
    merged.add(3.0)
    assert msgspec.json.encode(other) == before


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200), st.integers(1, 20))
def test_beyond_its_limit_of_buckets_only_the_lowest_quantiles_lose_their_accuracy(values: list[float], limit: int) -> None:
    made = sketch(values, limit)
    assert len(made.counts) <= limit
    lowest = min(made.counts)
    for rank in RANKS:
        true = exact(values, rank)
        if sketch([true]).counts.keys() > {lowest} or min(sketch([true]).counts) > lowest:
            assert made.quantiles([rank])[0] == pytest.approx(true, rel=ACCURACY * (1 + 1e-9))


@given(ANY)
def test_a_sketch_survives_json(values: list[float]) -> None:
    made = sketch(values)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Sketch) == made


@given(st.lists(st.one_of(st.sampled_from(CONVENTION), st.floats(0.0, 200.0)), max_size=100))
def test_counts_up_to_the_conventions_bounds_are_exact(values: list[float]) -> None:
    # A value that is less than a rounding error above a bound may count as the bound itself.
    clear = [value for value in values if all(value == bound or not math.isclose(value, bound) for bound in CONVENTION)]
    assert sketch(clear).counts_up_to(range(14)) == [sum(value <= bound for value in clear) for bound in CONVENTION]


@pytest.mark.parametrize("value", [-1.0, -1e-12, math.nan, math.inf, -math.inf])
def test_what_is_no_duration_is_refused_and_leaves_the_sketch_as_it_was(value: float) -> None:
    made = sketch([1.0])
    with pytest.raises(ValueError, match="A sketch takes"):
        made.add(value)
    assert made == sketch([1.0])


def test_no_values_have_no_distribution() -> None:
    assert Sketch().distribution() is None
    with pytest.raises(ValueError, match="no values"):
        Sketch().quantiles([0.5])


def test_a_distribution_has_the_exact_mean_and_extremes() -> None:
    found = sketch([1.0, 2.0, 3.0, 10.0]).distribution()
    assert found is not None
    assert (found.count, found.mean, found.min, found.max) == (4, 4.0, 1.0, 10.0)
    assert found.p99 == pytest.approx(3.0, rel=0.01)
