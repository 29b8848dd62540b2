"""JSON documents are made to satisfy their schemas."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.sim import documents, schemas
from podium.sim.answers import hints_of

HINTS = hints_of("In 2019 Marie Curie and Ada Lovelace met 3 friends in Paris to talk about rivers.", "42")


def holds(schema: dict[str, Any], value: Any) -> None:
    jsonschema.validate(
        value, schema, cls=jsonschema.Draft202012Validator, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


_SMALL = st.integers(0, 9)
_LEAVES = st.one_of(
    st.just({"type": "string"}),
    st.builds(lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more}, _SMALL, _SMALL),
    st.builds(lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more}, st.integers(-9, 99), _SMALL),
    st.builds(lambda low, step: {"type": "integer", "minimum": low, "multipleOf": step}, st.integers(0, 99), st.integers(1, 9)),
    st.builds(lambda low: {"type": "number", "exclusiveMinimum": low, "maximum": low + 1}, st.integers(-9, 99)),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": ["string", "null"]}),
    st.builds(lambda options: {"enum": options}, st.lists(st.text(max_size=4) | st.integers(), min_size=1, max_size=4)),
    st.builds(lambda value: {"const": value}, st.text(max_size=4) | st.integers()),
    st.builds(lambda form: {"type": "string", "format": form}, st.sampled_from(["date", "email", "ipv4", "uuid", "time"])),
)  # fmt: skip


def _grown(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.text("abcdef", min_size=1, max_size=3)
    objects = st.dictionaries(names, inner, max_size=4).flatmap(
        lambda properties: st.builds(
            lambda required: {
                "type": "object", "properties": properties, "required": required, "additionalProperties": False
            },
            st.lists(st.sampled_from(sorted(properties)), unique=True) if properties else st.just([]),
        )
    )  # fmt: skip
    arrays = st.builds(
        lambda items, least, more: {"type": "array", "items": items, "minItems": least, "maxItems": least + more},
        inner,
        st.integers(0, 3),
        st.integers(0, 3),
    )
    return objects | arrays | st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3))


@given(st.recursive(_LEAVES, _grown, max_leaves=12))
def test_a_document_satisfies_its_schema(schema: dict[str, Any]) -> None:
    holds(schema, documents.make(schema, HINTS))


@given(st.recursive(_LEAVES, _grown, max_leaves=8))
def test_the_same_schema_and_prompt_give_the_same_document(schema: dict[str, Any]) -> None:
    assert documents.make(schema, HINTS) == documents.make(schema, HINTS)


def test_a_recursive_schema_ends() -> None:
    schema = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name", "next", "children"],
                "additionalProperties": False,
            }
        },
    }
    holds(schema, documents.make(schema, HINTS))


def test_all_of_is_merged() -> None:
    schema = {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        ]
    }
    holds(schema, documents.make(schema, HINTS))


def test_unique_items_differ() -> None:
    schema = {"type": "array", "items": {"enum": ["x", "y", "z"]}, "minItems": 3, "maxItems": 3, "uniqueItems": True}
    holds(schema, documents.make(schema, HINTS))


@pytest.mark.parametrize(
    "pattern", [r"^\d{3}-\d{4}$", r"^[A-Z]{2}\d+$", r"^[a-z0-9_]{8}$", "^(red|blue)$", r"^\+\d{6,12}$", r"^[^@]+@[^@]+$"]
)
def test_a_simple_pattern_is_matched(pattern: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    holds(schema, documents.make(schema, HINTS.replace(answer=None)))


def test_a_document_takes_names_and_numbers_from_the_prompt() -> None:
    schema = {"type": "object", "properties": {"person": {"type": "string"}, "year": {"type": "integer", "minimum": 1900}}}
    made = documents.make(schema, HINTS.replace(answer=None))
    assert made == {"person": "Marie Curie", "year": 2019}


def test_an_enum_member_that_the_prompt_names_is_chosen() -> None:
    schema = {"enum": ["berlin", "paris", "rome"]}
    assert documents.make(schema, HINTS) == "paris"


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        (3, ()),
        ({"type": "any"}, ("type",)),
        ({"type": []}, ("type",)),
        ({"properties": {"a": None}}, ("properties", "a")),
        ({"properties": []}, ("properties",)),
        ({"anyOf": []}, ("anyOf",)),
        ({"items": {"enum": 1}}, ("items", "enum")),
        ({"required": [1]}, ("required",)),
        ({"minLength": -1}, ("minLength",)),
        ({"maximum": "9"}, ("maximum",)),
        ({"pattern": "("}, ("pattern",)),
        ({"multipleOf": 0}, ("multipleOf",)),
        ({"$defs": {"x": {"anyOf": [{"type": 1}]}}}, ("$defs", "x", "anyOf", "0", "type")),
    ],
    ids=str,
)
def test_a_schema_that_is_none_is_told_with_its_place(schema: Any, path: tuple[str, ...]) -> None:
    found = schemas.fault(schema)
    assert found is not None
    assert found[0] == path
    with pytest.raises(jsonschema.SchemaError):
        jsonschema.Draft202012Validator.check_schema(schema)


@given(st.recursive(_LEAVES, _grown, max_leaves=12))
def test_a_good_schema_has_no_fault(schema: dict[str, Any]) -> None:
    assert schemas.fault(schema) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1000},
        {"type": "string", "minLength": 10**12},
    ],
    ids=str,
)
def test_a_schema_that_nothing_satisfies_ends_all_the_same(schema: dict[str, Any]) -> None:
    assert len(str(documents.make(schema, HINTS))) < 10**6
