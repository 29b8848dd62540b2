"""What the judges hold to be the same."""

from __future__ import annotations

import json
import struct
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.errors import ConfigError
from podium.routing.strategies.canonical import dump_canonical, dump_number
from podium.routing.strategies.judges import NoVote, Rules, compile_pattern, load_document, normalise, read, same
from podium.routing.strategies.schemas import find_fault
from podium.routing.strategies.tally import cluster
from podium.types import Choice, Finish, FinishReason, Part, Refusal, Response, Text, ToolCall


def response(*parts: Part, reason: FinishReason = "stop") -> Response:
    return Response(choices=(Choice(parts=parts, finish=Finish(reason=reason)),))


def text(words: str, reason: FinishReason = "stop") -> Response:
    return response(Text(text=words), reason=reason)


def call(name: str, arguments: str, id: str = "1") -> ToolCall:
    return ToolCall(id=id, name=name, arguments=arguments)


# --- exact -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,000.0", "1000"),
        ("+007", "7"),
        ("-0.0", "0"),
        ("−5", "-5"),
        ("$1.50", "$1.5"),
        ("1,000.50 %", "1000.5 %"),
        ("Paris.", "paris"),
        ("  Paris\n", "PARIS!"),
        ("Straße", "STRASSE"),
        ("ﬁne", "fine"),
        ("Ｐａｒｉｓ", "paris"),
        ("the answer is 1,000.0", "The answer\tis 1000."),
        ("I have 1,000, you 2,000.50", "i have 1000, you 2000.50"),
    ],
)
def test_exact_holds_these_to_be_the_same(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10", "100"),
        ("1.5", "15"),
        ("-5", "5"),
        ("5 %", "5"),
        ("Python 3.10", "Python 3.1"),
        ("1.0.0", "1"),
        ("10.0.0.1", "10.0.0.10"),
        ("1,2,300", "1,2300"),
        ("?", "!"),
        ("yes", "no"),
        ("x" * 70 + ".", "x" * 70),
    ],
)
def test_exact_holds_these_to_be_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.integers(-(10**15), 10**15), st.integers(0, 4))
@settings(deadline=None)
def test_a_whole_number_is_the_same_with_commas_and_with_zeros_after_the_point(number: int, zeros: int) -> None:
    written = f"{number:,}" + ("." + "0" * zeros if zeros else "")
    assert normalise(written) == normalise(str(number)) == str(number)


@given(st.text(max_size=80))
@settings(deadline=None)
def test_any_text_has_a_form_that_ignores_case_and_white_space_around_it(words: str) -> None:
    assert normalise(f" \n{words}\t") == normalise(words)
    assert normalise(words) != "" or not words.strip()


def test_a_pattern_takes_its_first_group_else_its_match() -> None:
    grouped = Rules(pattern=compile_pattern(r"answer: *(\w+)"))
    assert read("exact", text("Let me think. The Answer? answer: Blue, surely"), grouped).key == "blue"
    assert read("exact", text("say 42 now"), Rules(pattern=compile_pattern(r"\d+"))).key == "42"


def test_a_text_that_the_pattern_does_not_match_does_not_vote() -> None:
    with pytest.raises(NoVote, match="does not match the pattern"):
        read("exact", text("blue"), Rules(pattern=compile_pattern(r"answer: (\w+)")))


def test_a_pattern_that_is_no_regular_expression_is_a_fault_of_the_config() -> None:
    with pytest.raises(ConfigError, match="no regular expression"):
        compile_pattern("(")


def test_an_empty_answer_and_a_refusal_do_not_vote_and_one_cut_off_by_its_length_does() -> None:
    for nothing in (text(" \n"), response(), response(Refusal(text="no")), text("I", reason="content_filter")):
        with pytest.raises(NoVote):
            read("exact", nothing)
    assert read("exact", text("Paris is", reason="length")).key == "paris is"
    with pytest.raises(NoVote, match="cut off by its length"):
        read("json", text('{"a": ', reason="length"))


# --- tool calls ------------------------------------------------------------------------------------------------------


def test_tool_calls_are_compared_as_a_multiset_of_names_and_arguments() -> None:
    one = response(Text(text="Let me look."), call("find", '{"a": 1, "b": 2}', "x"), call("stop", ""))
    other = response(call("stop", "{}", "y"), call("find", '{"b":2.0,"a":1}', "z"))
    assert read("exact", one) == read("json", other)
    thrice = response(call("stop", "{}"), call("stop", "{}"), call("find", '{"a":1,"b":2}'))
    assert read("exact", one) != read("exact", thrice)


def test_a_text_is_never_the_same_as_a_tool_call() -> None:
    calls = read("exact", response(call("stop", "{}")))
    assert not same(calls, read("exact", text(calls.key)), Rules())


def test_arguments_that_are_not_json_do_not_vote() -> None:
    with pytest.raises(NoVote, match="arguments that are not JSON"):
        read("exact", response(call("find", "{")))


# --- json ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        '{"a": [1]}',
        ' \ufeff{"a":[1]}\n',
        '```json\n{"a": [1]}\n```',
        '```\n{"a": [1]}```',
        '```{"a": [1]}```',
        'Here it is:\n```json\n{"a": [1]}\n```\nAnything else?',
    ],
)
def test_a_document_is_the_whole_text_or_its_one_code_block(written: str) -> None:
    assert load_document(written) == {"a": [1]}


def test_a_code_block_may_hold_fences_inside_of_its_strings() -> None:
    document = {"code": "```py\nprint()\n```"}
    assert load_document(f"```json\n{json.dumps(document)}\n```") == document


@pytest.mark.parametrize(
    "written", ["no", "{'a': 1}", '{"a": NaN}', "[" * 100_000, '```json\n{"a":1}\n```\nor\n```json\n{"a":2}\n```\n', "``````"]
)
def test_what_is_no_document_does_not_vote(written: str) -> None:
    with pytest.raises(NoVote):
        load_document(written)


def test_a_document_that_is_nested_too_deeply_does_not_vote() -> None:
    with pytest.raises(NoVote):
        read("json", text("[" * 100_000 + "]" * 100_000))


def test_only_the_named_fields_vote() -> None:
    rules = Rules(fields={"price": 0.0, "owner.name": 0.0})
    one = read("json", text('{"price": 10, "owner": {"name": "Jo"}, "why": "x"}'), rules)
    other = read("json", text('{"owner": {"name": "Jo", "age": 3}, "price": 10.0}'), rules)
    assert same(one, other, rules)
    assert one.key == '{"owner.name":"Jo","price":10}'
    with pytest.raises(NoVote, match=r"lacks the field `owner\.name`"):
        read("json", text('{"price": 10}'), rules)


def test_a_tolerance_holds_for_its_own_field_and_for_numbers_alone() -> None:
    rules = Rules(fields={"price": 0.1, "unit": 0.5})

    def agree(one: str, other: str) -> bool:
        return same(read("json", text(one), rules), read("json", text(other), rules), rules)

    assert agree('{"price": 1.0, "unit": "kg"}', '{"price": 1.1, "unit": "kg"}')
    assert not agree('{"price": 1.0, "unit": "kg"}', '{"price": 1.11, "unit": "kg"}')
    assert not agree('{"price": 1.0, "unit": "kg"}', '{"price": 1.0, "unit": "lb"}')
    assert not agree('{"price": 1, "unit": "kg"}', '{"price": true, "unit": "kg"}')


def test_with_a_tolerance_the_answer_that_most_are_close_to_wins() -> None:
    rules = Rules(fields={"n": 1.0})
    votes = {place: read("json", text(f'{{"n": {n}}}'), rules) for place, n in enumerate([0, 5, 1, 2, 9])}
    assert cluster(votes, rules) == [(2, 0, 3), (1,), (4,)]


# --- canonical JSON (RFC 8785) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "written"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_written_as_in_appendix_b_of_the_rfc(bits: str, written: str) -> None:
    assert dump_number(struct.unpack(">d", bytes.fromhex(bits))[0]) == written


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_a_canonical_number_reads_back_as_the_same_double(number: float) -> None:
    assert float(dump_number(number)) == number


def test_members_are_sorted_by_utf_16_code_units() -> None:
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\xf6"]
    written = dump_canonical(dict.fromkeys(names, 0))
    assert list(json.loads(written)) == ["\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"]


def test_of_a_text_only_what_must_be_escaped_is() -> None:
    assert dump_canonical('\u20ac$\x0f\nA\'B"\\\\"/\x7f') == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f"'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "\ud800", {"\udc00": 1}, {1, 2}])
def test_what_is_no_json_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        dump_canonical(value)


documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(documents)
@settings(deadline=None)
def test_canonical_json_is_json_of_the_same_value_and_its_own_canonical_form(document: Any) -> None:
    written = dump_canonical(document)
    assert json.loads(written, parse_int=float) == document
    assert dump_canonical(json.loads(written)) == written


# --- schemas ---------------------------------------------------------------------------------------------------------

KINDS = ["object", "array", "string", "boolean", "null", "number", "integer"]
NAMES = ["a", "b", "c"]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.5, 1.0, "", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
schemas = st.recursive(
    st.booleans()
    | st.fixed_dictionaries({}, optional={"type": st.sampled_from(KINDS), "enum": st.lists(values, min_size=1, max_size=3)}),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(KINDS) | st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
            "const": values,
            "properties": st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
            "required": st.lists(st.sampled_from(NAMES), unique=True),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=6,
)


@given(values, schemas)
@settings(deadline=None)
def test_schemas_are_judged_as_the_reference_library_judges_them(value: Any, schema: Any) -> None:
    valid = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert (find_fault(value, schema) is None) == valid


def test_references_into_the_document_are_followed_and_a_circle_is_no_trap() -> None:
    tree = {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}}
    assert find_fault({"next": {"next": {}}}, tree) is None
    assert find_fault({"next": {"next": 1}}, tree) == "`next`.next is not of type object"
    assert find_fault(1, {"$ref": "#", "anyOf": [{"$ref": "#"}, {"$ref": "#"}]}) is None


def test_a_keyword_that_is_not_known_or_malformed_turns_nothing_away() -> None:
    assert (
        find_fault({"a": 1}, {"minProperties": 5, "required": "a", "properties": None, "enum": 3, "$ref": "http://x/y"}) is None
    )
