"""When votes are counted, and when more of them can change nothing."""

from __future__ import annotations

from itertools import product

import pytest

from podium.routing.strategies.judges import NO_RULES, Reading, Rules
from podium.routing.strategies.tally import Places, cluster, entropy_agreement, settled


def count(keys: dict[int, str]) -> list[Places]:
    return cluster({place: Reading("text", key) for place, key in keys.items()}, NO_RULES)


def outcome(keys: dict[int, str], quorum: int) -> tuple[str | None, bool]:
    """The winning answer, and whether it has its quorum."""
    clusters = count(keys)
    return (keys[clusters[0][0]], len(clusters[0]) >= quorum) if clusters else (None, False)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_settled_means_exactly_that_no_further_votes_change_the_winner_or_its_quorum(n: int) -> None:
    """Every vote of up to four, in every state, with every quorum, against every way in which it can end."""
    for state in product(("x", "y", "z", "out", "failed"), repeat=n):
        voted = {place: key for place, key in enumerate(state) if key in {"x", "y", "z"}}
        out = [place for place, key in enumerate(state) if key == "out"]
        for quorum in range(1, n + 2):
            now = outcome(voted, quorum)
            # What is still out may say what was said before, something new, or nothing.
            ways = product(("x", "y", "z", "new", None), repeat=len(out))
            ends = [voted | {place: key for place, key in zip(out, way, strict=True) if key is not None} for way in ways]
            fixed = all(outcome(end, quorum) == now for end in ends)
            assert settled(count(voted), out, quorum, NO_RULES) == fixed, (state, quorum)


def test_clusters_are_in_the_order_of_their_votes_and_then_of_their_targets() -> None:
    assert count({4: "x", 0: "y", 3: "z", 1: "x", 2: "z"}) == [(1, 4), (2, 3), (0,)]


def test_with_a_tolerance_nothing_is_settled_before_all_are_in() -> None:
    rules = Rules(fields={"n": 1.0})
    votes = {place: Reading("json", str(n), None, (n,)) for place, n in {1: 10, 2: 10, 3: 10, 4: 1, 5: 3}.items()}
    assert cluster(votes, rules)[0] == (1, 2, 3)
    assert not settled(cluster(votes, rules), [0], 3, rules)
    # One answer between two that disagree brings them together, and it is the first of as many votes.
    assert cluster({0: Reading("json", "2", None, (2,)), **votes}, rules)[0] == (0, 4, 5)


def test_entropy_agreement_is_one_for_unanimity_zero_for_none_and_zero_for_fewer_than_two() -> None:
    assert entropy_agreement([(0, 1, 2)]) == 1.0
    assert entropy_agreement([(0,), (1,), (2,)]) == 0.0
    assert entropy_agreement([(0,)]) == entropy_agreement([]) == 0.0
    assert entropy_agreement([(0, 1), (2,)]) == pytest.approx(0.42062, abs=1e-5)
