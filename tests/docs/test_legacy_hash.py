"""The integration guide's `simple_hash` is the TypeScript guide's `simpleHash`, number by number."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs.blocks import blocks


def _simple_hash() -> Callable[[str], int]:
    """Take the function out of the page: that one is copied, so that one is tested."""
    text = next(block.text for block in blocks("docs/integration.md") if block.file == "core/model_wrapper.py")
    function = next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "simple_hash")
    namespace: dict[str, Any] = {}
    exec(compile(ast.Module([function], []), "integration.md", "exec"), namespace)
    taken: Callable[[str], int] = namespace["simple_hash"]
    return taken


SIMPLE_HASH = _simple_hash()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0),
        ("user-1", 836031825),
        ("user-123", 267697872),
        ("alice@example.com", 2145772861),
        ("polygenelubricants", 2147483648),  # Math.abs of the least 32-bit number is a float beyond the largest
        ("😀", 1772899),  # two UTF-16 code units
        ("550e8400-e29b-41d4-a716-446655440000", 1716781005),
    ],
)
def test_it_gives_the_numbers_that_javascript_gives(text: str, number: int) -> None:
    assert SIMPLE_HASH(text) == number


@given(st.text())
def test_it_is_the_sum_of_code_units_by_powers_of_31_folded_to_32_bits(text: str) -> None:
    """`(hash << 5) - hash + unit`, each step cut to a signed 32-bit number, step by step as JavaScript does it."""
    value = 0
    for character in text:
        code = ord(character)
        units = [code] if code < 0x10000 else [0xD800 + (code - 0x10000 >> 10), 0xDC00 + (code - 0x10000 & 0x3FF)]
        for unit in units:
            shifted = _signed(value << 5)
            value = _signed(shifted - value + unit)
    assert SIMPLE_HASH(text) == abs(value)


def _signed(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31
