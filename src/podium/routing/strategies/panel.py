"""The answers of a consensus so far, how they are judged, and what the judgement says.

Theory. The judge `auto` depends on all answers: they are read as JSON only while every text is a JSON object. As long as more
answers may come, both readings are kept, and something is certain only if it is so under both.

Rules.
- A place is the position of a target in the plan. Every place ends with a vote or with the reason why it has none.
- `n_configured` counts the plan's targets that may be asked *and* those that were skipped (disabled, without a key): a target
  that could not be asked is a failure, and failures must not raise the agreement or lower the quorum.
- An answer that the judge cannot read is none: it does not count in `n_ok`, and `errors` says why.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from podium.routing.snapshot import Strategy
from podium.routing.strategies.judges import JudgeName, NoVote, Reading, Rules, compile_pattern, read
from podium.routing.strategies.tally import Places, cluster, entropy_agreement, settled
from podium.types import Answer, Cluster, Consensus, Considered, Output, Response, Target


class Verdict(NamedTuple):
    """What a judge finds in the answers so far."""

    judge: JudgeName
    votes: dict[int, Reading]
    clusters: list[Places]
    quorum_met: bool


class Panel:
    """The answers to one request, and the judge over them.

    Raises `ConfigError` where the answer pattern is no regular expression.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        strategy: Strategy,
        *,
        skipped: Sequence[Considered] = (),
        output: Output | None = None,
    ) -> None:
        self.targets = tuple(targets)
        self.skipped = tuple(skipped)
        self.n_targets = len(self.targets)
        self.n_configured = self.n_targets + len(self.skipped)
        self.quorum = self.n_configured // 2 + 1 if strategy.quorum is None else strategy.quorum
        self.min_answers = strategy.min_answers
        self.responses: dict[int, Response] = {}
        self._failures: dict[int, Considered] = {}
        structured = output is not None and output.kind != "text"
        schema = strategy.schema if strategy.schema is not None or output is None else output.schema
        pattern = compile_pattern(strategy.answer_pattern) if strategy.answer_pattern is not None else None
        self._rules = Rules(pattern=pattern, fields=strategy.fields, schema=schema)
        self._judges = _possible(strategy, structured)
        self._votes: dict[JudgeName, dict[int, Reading]] = {judge: {} for judge in self._judges}
        self._unread: dict[JudgeName, dict[int, str]] = {judge: {} for judge in self._judges}

    def add(self, place: int, response: Response) -> None:
        """Take the answer of a place."""
        self.responses[place] = response
        for judge in self._judges:
            try:
                self._votes[judge][place] = read(judge, response, self._rules)
            except NoVote as reason:
                self._unread[judge][place] = str(reason)
        if len(self._judges) == 2 and response.text.strip() and not response.tool_calls:
            reading = self._votes["json"].get(place)
            # The one text that is no JSON object settles it.
            if reading is None or not isinstance(reading.document, dict):
                self._judges = ("exact",)

    def add_failure(self, place: int, target: Target, reason: str) -> None:
        """Note why a place gives no answer; a reason that begins with the target's name need not say it twice."""
        why = reason.removeprefix(f"{target}: ").removeprefix(f"{target} ")
        self._failures[place] = Considered(name=str(target), why=why)

    def list_errors(self, verdict: Verdict) -> str:
        """Say in one line who gave no answer, and why."""
        return "; ".join(f"{each.name}: {each.why}" for each in self._errors(verdict.judge)) or "no target failed"

    def verdict(self) -> Verdict:
        """Judge the answers there are."""
        return self._judge(self._judges[0])

    def certain(self, out: Collection[int]) -> bool:
        """Say whether the places still out can change neither the winner, nor its quorum, nor whether answers suffice."""
        if not out:
            return True
        if any(len(self._votes[judge]) < self.min_answers for judge in self._judges):
            return False
        verdicts = [self._judge(judge) for judge in self._judges]
        return (
            all(settled(each.clusters, out, self.quorum, self._rules) for each in verdicts)
            and len({(each.clusters[0][0], each.quorum_met) for each in verdicts}) == 1
        )

    def hopeless(self, out: Collection[int]) -> bool:
        """Say whether fewer answers than `min_answers` will come, whatever the places still out do."""
        return max(len(self._votes[judge]) for judge in self._judges) + len(out) < self.min_answers

    def consensus(self, verdict: Verdict, *, stopped_early: bool, escalated_to: Target | None = None) -> Consensus:
        """Put a verdict in the words of a result."""
        votes, clusters = verdict.votes, verdict.clusters
        winner = clusters[0] if clusters else ()
        kinds = {reading.kind for reading in votes.values()}
        return Consensus(
            judge="tool_calls" if kinds == {"tool_calls"} else verdict.judge,
            agreement=len(winner) / self.n_configured,
            entropy_agreement=entropy_agreement(clusters),
            clusters=tuple(
                Cluster(key=votes[each[0]].key, votes=len(each), targets=tuple(self.targets[place] for place in sorted(each)))
                for each in clusters
            ),
            dissent=tuple(
                Answer(target=self.targets[place], text=self.responses[place].text, key=votes[place].key)
                for place in sorted(votes)
                if place not in winner
            ),
            n_configured=self.n_configured,
            n_ok=len(votes),
            errors=self._errors(verdict.judge),
            quorum=self.quorum,
            quorum_met=verdict.quorum_met,
            stopped_early=stopped_early,
            sufficient=len(votes) >= self.min_answers,
            escalated_to=escalated_to,
        )

    def _judge(self, judge: JudgeName) -> Verdict:
        votes = self._votes[judge]
        clusters = cluster(votes, self._rules)
        return Verdict(judge, votes, clusters, bool(clusters) and len(clusters[0]) >= self.quorum)

    def _errors(self, judge: JudgeName) -> tuple[Considered, ...]:
        unread = self._unread[judge].items()
        failures = self._failures | {place: Considered(name=str(self.targets[place]), why=why) for place, why in unread}
        return (*(failures[place] for place in sorted(failures)), *self.skipped)


def _possible(strategy: Strategy, structured: bool) -> tuple[JudgeName, ...]:
    """Return the judges that may turn out to be the one: both only for `auto` where nothing said beforehand decides."""
    if strategy.judge != "auto":
        return (strategy.judge,)
    if strategy.answer_pattern is not None:
        return ("exact",)
    if structured or strategy.schema is not None or strategy.fields is not None:
        return ("json",)
    return ("json", "exact")
