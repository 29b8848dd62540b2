"""YAML as nodes that know their lines: what stands between text and values.

Theory. PyYAML's parser gives events, each with its place. Composed here rather than by PyYAML, they keep the line of every
key, and a file that is nested too deeply is refused instead of ending the process.

Rules. Nothing is resolved here but anchors: a plain scalar is its text. One file is one document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

DEEPEST = 50
"""How deeply a config may be nested."""

_TAB_INDENT = re.compile(r"^ *\t", re.MULTILINE)
_QUOTED = re.compile(r"'([^']*)'")
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class Node:
    """A scalar (`text`), a sequence (`items`) or a mapping (`pairs`); the two others are None."""

    __slots__ = ("items", "line", "pairs", "plain", "tagged", "text")

    def __init__(self, line: int, *, tagged: bool, text: str | None = None, plain: bool = False) -> None:
        self.line = line
        self.tagged = tagged
        self.text = text
        self.plain = plain
        self.items: list[Node] | None = None
        self.pairs: list[tuple[Node, Node]] | None = None


class SyntaxFault(Exception):
    """Text that is no YAML, or none that a config can be: what is wrong, what to do, and the line."""

    def __init__(self, message: str, hint: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.line = line


def compose(text: str) -> Node | None:
    """Return the root of a YAML text; None where it is empty.

    Raises `SyntaxFault`.
    """
    try:
        return _document(iter(yaml.parse(text, Loader=_Loader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line if mark else 0
        raise SyntaxFault(*_words(error.problem or "", text, line), line + 1) from None
    except yaml.YAMLError:
        raise SyntaxFault("the file has a character that YAML does not allow.", "Remove control characters.") from None


def _words(problem: str, text: str, line: int) -> tuple[str, str]:
    """Say a syntax error without repeating any text of the file: it could be a key."""
    lines = text.splitlines()
    if "\\t" in problem or (line < len(lines) and _TAB_INDENT.match(lines[line])):
        return "a tab stands where YAML wants spaces.", "Indent with spaces."
    words = _QUOTED.sub(lambda match: match[0] if len(match[1]) < 2 or match[1][0] == "<" else "…", problem).strip()
    return f"this is not YAML: {words or 'it breaks off'}.", "Check quotes, colons and the indentation here and just above."


def _document(events: Iterator[Any]) -> Node | None:
    root: Node | None = None
    anchors: dict[str, Node] = {}
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            begun = next(events)
            if root is not None:
                raise SyntaxFault("a second document begins here.", "One file holds one config.", begun.start_mark.line + 1)
            root = _node(events, begun, anchors, 0)
    return None if root is None or (root.plain and not root.text) else root


def _node(events: Iterator[Any], event: Any, anchors: dict[str, Node], depth: int) -> Node:
    line = event.start_mark.line + 1
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise SyntaxFault(
                "`*` begins an alias here, and no anchor has its name.", "Quote the text if the star belongs to it.", line
            )
        return anchors[event.anchor]
    if depth > DEEPEST:
        raise SyntaxFault("this is nested too deeply.", "Flatten it.", line)
    node = Node(line, tagged=event.tag not in (None, "!"))
    if event.anchor is not None:
        anchors[event.anchor] = node
    if isinstance(event, yaml.SequenceStartEvent):
        node.items = []
        while not isinstance(item := next(events), yaml.SequenceEndEvent):
            node.items.append(_node(events, item, anchors, depth + 1))
    elif isinstance(event, yaml.MappingStartEvent):
        node.pairs = []
        while not isinstance(item := next(events), yaml.MappingEndEvent):
            key = _node(events, item, anchors, depth + 1)
            node.pairs.append((key, _node(events, next(events), anchors, depth + 1)))
    else:
        node.text, node.plain = event.value, not event.style
    return node
