"""Text into HTML.

Theory. There are two kinds of text: `Markup`, which is HTML, and everything else, which is not. `tag` escapes whatever is not
`Markup`, and only `tag` and `raw` make any. So a text from outside cannot become markup by being forgotten.

Rules. `raw` is for texts that ship with Podium. Control characters are left out, for HTML has no way to write them.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from podium.cli.console import clean

Attribute = str | int | float | bool | None
_EMPTY = frozenset({"meta", "link", "input", "br"})


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


Child = str | int | None | Iterable["Child"]
"""What may stand in an element: `Markup` as it is, other text escaped, None nothing."""


def raw(text: str) -> Markup:
    """Take a text that ships with Podium as HTML."""
    return Markup(text)


def json_block(document: Any, name: str) -> Markup:
    """Hold plain values as JSON in a page; no text in them can end the block, nor begin markup."""
    written = json.dumps(document, ensure_ascii=False, default=str)
    for letter in "<>&\u2028\u2029":
        written = written.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{written}</script>')


def escape(text: str) -> Markup:
    """Return a text as HTML that shows it."""
    return text if isinstance(text, Markup) else Markup(html.escape(clean(text.replace("\r\n", "\n"))))


def join(children: Child) -> Markup:
    """Return children as HTML, one after another."""
    if children is None:
        return Markup()
    if isinstance(children, int):
        return Markup(f"{children:,}")
    if isinstance(children, str):
        return escape(children)
    return Markup("".join(join(child) for child in children))


def tag(element: str, *children: Child, **attributes: Attribute) -> Markup:
    """Make an element. In an attribute's name `_` stands for `-`, and one at its end is dropped (`class_`, `aria_label`).

    An attribute that is None or False is left out, one that is True stands without a value.
    """
    written = "".join(_attribute(name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    if element in _EMPTY:
        return Markup(f"<{element}{written}>")
    return Markup(f"<{element}{written}>{join(children)}</{element}>")


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f' {name}="{html.escape(clean(text))}"'
