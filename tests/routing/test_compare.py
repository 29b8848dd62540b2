"""Two answers side by side, and what many of them come to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.errors import ConfigError
from podium.routing.compare import Comparison, Side, changes, compare, diff, similarity
from podium.routing.compare_summary import (
    Category,
    Observation,
    Summary,
    dollars,
    leading,
    percentile,
    sign_test,
    summarise,
)
from podium.types import Choice, Finish, Output, Refusal, Response, Text, ToolCall, load

WORDS = st.text(alphabet="abc  \n.,1", max_size=60)


def answer(text: str, *, reason: Any = "stop", calls: tuple[ToolCall, ...] = ()) -> Response:
    return Response(choices=(Choice(parts=(Text(text=text), *calls), finish=Finish(reason=reason)),))


def both(new: Response | None, old: Response | None, **rules: Any) -> Comparison:
    sides = {}
    for name, response in (("new", new), ("old", old)):
        facts = {"text": response.text} if response is not None else {"error": "It broke.", "error_code": "overloaded"}
        sides[name] = (load(Side, {"side": name, "spec": None, **facts}), response)
    return compare(sides["new"], sides["old"], **rules)


@pytest.mark.parametrize(
    ("new", "old", "same", "judge"),
    [
        ("1989.", " 1989", True, "exact"),
        ("1,000 km", "1000 km", True, "exact"),
        ("Lyon", "Paris", False, "exact"),
        ('{"a": 1, "b": 2.0}', '```json\n{"b": 2, "a": 1}\n```', True, "json"),
        ('{"a": 1}', '{"a": 2}', False, "json"),
        ('{"a": 1}', "a is 1", False, "exact"),
    ],
)
def test_the_judges_of_a_consensus_say_what_is_the_same(new: str, old: str, same: bool, judge: str) -> None:
    found = both(answer(new), answer(old))
    assert (found.same, found.judge) == (same, judge)
    assert found.why


def test_tool_calls_are_compared_by_name_and_arguments_whatever_their_ids() -> None:
    def call(id: str, arguments: str) -> Response:
        return answer("", calls=(ToolCall(id=id, name="weather", arguments=arguments),))

    found = both(call("a", '{"city": "Rome", "days": 1}'), call("b", '{"days":1.0,"city":"Rome"}'))
    assert (found.same, found.judge) == (True, "tool_calls")
    assert both(call("a", '{"city": "Rome"}'), call("a", '{"city": "Oslo"}')).same is False


def test_a_pattern_and_fields_with_a_tolerance_decide_as_in_a_consensus() -> None:
    assert both(answer("I think: answer: 4"), answer("Well. Answer: 4"), answer_pattern="(?i)answer: *(.+)").same is True
    fields = {"total": 0.5}
    assert both(answer('{"total": 10, "note": "x"}'), answer('{"total": 10.4}'), fields=fields).same is True
    assert both(answer('{"total": 10}'), answer('{"total": 11}'), fields=fields).same is False


def test_structured_output_is_judged_as_json_and_held_to_its_schema() -> None:
    output = Output(kind="json_schema", schema={"type": "object", "required": ["a"]}, name="answer")
    assert both(answer('{"a": 1}'), answer('{"a": 1.0}'), output=output).same is True
    broken = both(answer('{"a": 1}'), answer('{"b": 1}'), output=output)
    assert broken.same is False
    assert "old: its answer does not satisfy the schema" in broken.why


def test_a_failure_is_neither_the_same_nor_different() -> None:
    found = both(None, answer("Paris"))
    assert (found.same, found.judge, found.similarity, found.diff) == (None, "none", None, "")
    assert found.why == "new failed (overloaded)"
    assert both(None, None).why == "new failed (overloaded) and old failed (overloaded)"


def test_a_refusal_beside_an_answer_is_a_difference_and_two_of_them_are_no_agreement() -> None:
    refusal = Response(choices=(Choice(parts=(Refusal(text="I cannot."),), finish=Finish(reason="stop")),))
    one = both(refusal, answer("Paris"))
    assert one.same is False
    assert "new: it refused to answer" in one.why
    assert both(refusal, refusal).same is None


def test_a_wrong_pattern_is_an_error_even_where_nobody_answered() -> None:
    with pytest.raises(ConfigError, match="no regular expression"):
        both(None, None, answer_pattern="(")


@given(WORDS, WORDS)
def test_the_pieces_of_a_diff_give_both_texts_back(old: str, new: str) -> None:
    pieces = changes(old, new)
    assert "".join(piece.text for piece in pieces if piece.kind != "new") == old
    assert "".join(piece.text for piece in pieces if piece.kind != "old") == new


@given(WORDS, WORDS)
def test_similarity_is_symmetric_and_one_exactly_for_what_reads_the_same(one: str, other: str) -> None:
    assert similarity(one, other) == similarity(other, one)
    assert 0 <= similarity(one, other) <= 1
    assert similarity(one, one) == 1
    assert bool(diff(one, other)) == (one != other)


def test_similarity_by_hand() -> None:
    assert similarity("abcd", "bcde") == 0.75  # two times three of eight characters
    assert similarity("", "abc") == 0
    assert similarity("Paris.", " PARIS") == 1
    assert similarity("one two " * 400, "one six " * 400) == pytest.approx(0.5)  # beyond 2,000 characters, by words


def test_short_texts_are_diffed_by_words_and_long_ones_by_lines() -> None:
    assert diff("The sky is blue.", "The sea is blue.") == "The [-sky -]{+sea +}is blue."
    old, new = "a\nb\nc\nd\ne\nf\n", "a\nb\nX\nd\ne\nf\n"
    assert diff(old, new).splitlines() == ["--- old", "+++ new", "@@ -1,5 +1,5 @@", " a", " b", "-c", "+X", " d", " e"]


def test_a_comparison_comes_back_from_its_plain_values() -> None:
    found = both(answer("a"), answer("b")).replace()
    priced = found.replace(new=found.new.replace(cost_usd=Decimal("0.00012")))
    assert load(Comparison, priced.to_dict()) == priced


# --- many ----------------------------------------------------------------------------------------------------------------


def observe(
    same: bool | None = True,
    *,
    new_s: float = 1.0,
    old_s: float = 1.0,
    new_usd: str | None = "0.01",
    old_usd: str | None = "0.01",
    right: tuple[bool | None, bool | None] = (None, None),
    failed: tuple[str, ...] = (),
    category: str = "",
) -> Observation:
    def side(name: Any, time_s: float, cost: str | None) -> Side:
        money = Decimal(cost) if cost is not None else None
        return Side(
            side=name,
            spec=name,
            duration_s=time_s,
            cost_usd=money,
            input_tokens=10,
            output_tokens=5,
            error="It broke." if name in failed else None,
        )

    comparison = Comparison(
        same=None if failed else same,
        judge="exact",
        why="",
        similarity=None if failed else 0.5,
        diff="",
        new=side("new", new_s, new_usd),
        old=side("old", old_s, old_usd),
    )
    return Observation(comparison=comparison, category=category, right_new=right[0], right_old=right[1])


def verdict(*observations: Observation) -> Summary:
    return summarise(observations)


def test_what_is_cheaper_and_faster_is_better_and_says_that_the_answers_are_to_be_read() -> None:
    found = summarise([observe(same=index > 2, new_s=0.5, new_usd="0.005") for index in range(12)])
    assert found.verdict == "new"
    assert found.headline == "New is cheaper and faster; 3 of 12 answers differ, and which are better is yours to read."
    assert (found.agreement, found.cost_ratio, found.latency_ratio) == (0.75, 0.5, 0.5)
    assert "Cost: new $0.0600, old $0.120; new costs 50% less." in found.facts


def test_cheap_against_fast_is_a_trade() -> None:
    found = summarise([observe(new_s=2.0, new_usd="0.001") for _ in range(12)])
    assert found.verdict == "trade"
    assert found.headline == "A trade: new is cheaper, old is faster; the answers are the same."


def test_being_right_comes_before_money_and_speed() -> None:
    cheap_but_wrong = [observe(same=False, new_s=0.1, new_usd="0.0001", right=(False, True)) for _ in range(10)]
    found = summarise(cheap_but_wrong)
    assert (found.verdict, found.headline) == ("old", "Old is better: it is right more often.")
    assert found.right.p == 2 / 2**10


def test_failing_comes_before_money_and_speed() -> None:
    found = summarise([observe(new_s=0.1, new_usd="0.0001", failed=("new",)) for _ in range(10)] + [observe()])
    assert (found.verdict, found.headline) == ("old", "Old is better: it fails less often.")
    assert (found.new.failed, found.new.answered, found.incomparable) == (10, 1, 10)


def test_a_few_lucky_pairs_are_no_difference() -> None:
    found = summarise([observe(new_s=0.5) for _ in range(4)])  # four of four: p = 0.125
    assert (found.verdict, found.faster.p) == ("equal", 0.125)
    assert summarise([observe(right=(True, False)), observe(right=(True, True))]).verdict == "equal"


def test_one_time_is_no_times() -> None:
    found = summarise([observe(new_s=0.5, new_usd="0.001", right=(True, True))])
    assert found.headline == "New is cheaper; both are right 1 time of 1."
    assert any("new was faster 1 time, old 0" in fact for fact in found.facts)


def test_faster_every_time_by_very_little_is_no_difference_that_counts() -> None:
    found = summarise([observe(new_s=0.99) for _ in range(20)])
    assert (found.faster.leader, found.quicker, found.verdict) == ("new", None, "equal")
    assert summarise([observe(new_s=0.9) for _ in range(20)]).quicker == "new"


def test_unknown_costs_are_not_nothing() -> None:
    found = summarise([observe(new_usd=None), observe(new_usd="0.02", old_usd="0.01")])
    assert (found.priced, found.cost_ratio, found.new.unpriced) == (1, 2.0, 1)
    assert "Cost (over 1 pairs): new $0.0200, old $0.0100; new costs 100% more." in found.facts
    assert summarise([observe(new_usd=None)]).cost_ratio is None


def test_nothing_and_only_failures_have_a_summary_too() -> None:
    assert summarise([]).verdict == "none"
    assert summarise([observe(failed=("new", "old"))]).headline == "Nothing to compare: neither side answered."


def test_agreement_is_counted_by_category_in_the_order_of_the_questions() -> None:
    found = summarise([observe(category="b"), observe(same=False, category="a"), observe(failed=("old",), category="b")])
    assert [(each.name, each.same, each.different, each.incomparable) for each in found.categories] == [
        ("b", 1, 0, 1),
        ("a", 0, 1, 0),
    ]


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 9), st.floats(0.1, 9), st.integers(0, 9), st.integers(0, 9))))
def test_swapping_the_sides_swaps_the_verdict(rows: list[tuple[bool, float, float, int, int]]) -> None:
    there = summarise([observe(same, new_s=a, old_s=b, new_usd=str(c), old_usd=str(d)) for same, a, b, c, d in rows])
    back = summarise([observe(same, new_s=b, old_s=a, new_usd=str(d), old_usd=str(c)) for same, a, b, c, d in rows])
    swapped = {"new": "old", "old": "new"}
    assert (there.faster.new, there.faster.old, there.faster.p) == (back.faster.old, back.faster.new, back.faster.p)
    assert there.new.p50_s == back.old.p50_s
    assert (there.cost_ratio is None) <= (not sum(d for *_, d in rows))
    ratios = [there.cost_ratio, back.cost_ratio, there.latency_ratio, back.latency_ratio]
    clear = all(ratio is not None and abs(ratio - 1) > 0.06 for ratio in ratios)
    if clear:
        assert back.verdict == swapped.get(there.verdict, there.verdict)


def test_figures_by_hand() -> None:
    assert sign_test(0, 0) == 1
    assert sign_test(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert sign_test(5, 5) == 1
    assert percentile([4, 1, 3, 2], 0.5) == 2.5
    assert percentile([1, 2, 3, 4, 5], 0.95) == pytest.approx(4.8)
    assert percentile([], 0.5) is None
    assert [dollars(Decimal(each)) for each in ("0", "0.00012345", "0.5", "12.3", "1234.5")] == [
        "$0.00",
        "$0.000123",
        "$0.500",
        "$12.30",
        "$1,234.50",
    ]


@given(counts=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), max_size=12), most=st.integers(2, 8))
def test_many_categories_become_the_largest_and_the_sum_of_the_others(counts: list[tuple[int, int, int]], most: int) -> None:
    every = [Category(name=f"c{n}", same=a, different=b, incomparable=c) for n, (a, b, c) in enumerate(counts)]
    shown = leading(every, most)
    assert len(shown) == min(len(every), most)
    for name in ("same", "different", "incomparable"):
        assert sum(getattr(each, name) for each in shown) == sum(getattr(each, name) for each in every)
    own = [each for each in shown if each in every]
    assert own == [each for each in every if each in own]
    assert len(own) >= len(shown) - 1
