"""Counts the votes of a consensus, and says when more of them can change nothing.

Theory. The answers that a judge holds to be the same are a cluster; the largest one wins, and of several that are as large the
one with the target declared first. Agreement is the winner's votes over all that could have voted, so a target that failed
counts against it. It is agreement and no confidence: errors that models share survive a vote.

Rules.
- A vote is known by its place: the position of its target in the plan. Nothing here depends on the order of arrival.
- With a tolerance, being the same is not transitive. The winner is then the answer with most others within the tolerance of
  itself (ties by place), its cluster is these, and the rest is clustered in the same way. Agreement so says how many are close
  to the answer that is delivered. One more answer may move every border, so nothing is settled before all are in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import log

from podium.routing.strategies.judges import Reading, Rules, same

Places = tuple[int, ...]
"""The places of the answers that are the same, the one that stands for them first."""


def cluster(votes: Mapping[int, Reading], rules: Rules) -> list[Places]:
    """Sort votes into clusters, the winner first: by size, then by the first place in each."""
    if rules.tolerant:
        return _cluster_near(votes, rules)
    groups: dict[tuple[str, str], list[int]] = {}
    for place in sorted(votes):
        reading = votes[place]
        groups.setdefault((reading.kind, reading.key), []).append(place)
    return sorted((tuple(places) for places in groups.values()), key=lambda places: (-len(places), places[0]))


def _cluster_near(votes: Mapping[int, Reading], rules: Rules) -> list[Places]:
    near = {
        place: {other for other, theirs in votes.items() if place == other or same(reading, theirs, rules)}
        for place, reading in votes.items()
    }
    clusters: list[Places] = []
    rest = set(votes)
    while rest:
        centre = min(rest, key=lambda place: (-len(near[place] & rest), place))
        members = near[centre] & rest
        clusters.append((centre, *sorted(members - {centre})))
        rest -= members
    return clusters


def settled(clusters: Sequence[Places], out: Collection[int], quorum: int, rules: Rules) -> bool:
    """Say whether the places still out can change neither the winner nor whether it has its quorum.

    The winner is beaten, at worst, by all that are out joining one rival, an old or a new one.
    """
    if not out:
        return True
    if not clusters or rules.tolerant:
        return False
    top, more = clusters[0], len(out)
    if not (len(top) >= quorum or len(top) + more < quorum):
        return False
    first_out = min(out)
    return all((len(top), -top[0]) > (len(rival) + more, -min((first_out, *rival[:1]))) for rival in (*clusters[1:], ()))


def entropy_agreement(clusters: Sequence[Places]) -> float:
    """Return 1 - H / ln n over the n answers: 1 where all agree, 0 where all differ, and where n < 2."""
    n = sum(map(len, clusters))
    if n < 2:
        return 0.0
    # With clusters of c answers, 1 - H / ln n is sum(c ln c) / (n ln n), which is exact at both ends.
    return sum(len(each) * log(len(each)) for each in clusters) / (n * log(n))
