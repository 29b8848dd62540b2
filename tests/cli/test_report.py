"""The report's parts: no text becomes markup, axes hold their values, and a page can be made of whatever came of a run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.cli import compare_table
from podium.cli.compared import Compared, load_compared
from podium.cli.console import clean
from podium.cli.report import make_page
from podium.cli.report.answers import MOST
from podium.cli.report.markup import json_block, tag
from podium.cli.report.scale import make_scale
from podium.routing.compare import Comparison, Side, SideName
from podium.routing.compare_summary import summarise

_EMPTY = {"meta", "link", "input", "br"}


class Read(HTMLParser):
    """Reads a page as a browser would, and fails where an element is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


TEXTS = st.text() | st.sampled_from(["</script>", "<!--", "<script>", '"><img onerror=x>', "\u2028", "&amp;", "']]>"])


@given(text=TEXTS, value=TEXTS)
def test_any_text_comes_out_of_a_page_as_it_went_in(text: str, value: str) -> None:
    read = Read(tag("p", text, title=value))
    assert len(read.elements) == 1
    assert "".join(read.text) == clean(text.replace("\r\n", "\n"))
    assert read.elements[0][1]["title"] == clean(value)


@given(
    st.recursive(TEXTS | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=8)
)
def test_json_in_a_page_cannot_be_left_and_is_what_it_was(document: Any) -> None:
    block = json_block(document, "figures")
    inside = block.removeprefix('<script type="application/json" id="figures">').removesuffix("</script>")
    assert not re.search("[<>&\u2028\u2029]", inside)
    assert json.loads(inside) == document


@given(st.lists(st.floats(0, 1e9, allow_subnormal=False) | st.floats(1e-9, 1), max_size=40))
def test_an_axis_holds_all_its_values_and_names_some_places_on_it(values: list[float]) -> None:
    scale = make_scale(values)
    assert all(-1e-9 <= scale.at(value) <= 1 + 1e-9 for value in values)
    assert sum(scale.counts(values, 20)) == len(values)
    places = [scale.at(tick) for tick in scale.ticks]
    assert places == sorted(places)
    assert 2 <= len(places) <= 9
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)


def test_values_of_very_different_sizes_have_a_logarithmic_axis() -> None:
    assert make_scale([0.1, 0.2]).ticks == (0, 0.05, 0.1, 0.15000000000000002, 0.2)
    assert make_scale([0.011, 9]).logarithmic
    assert not make_scale([0.0, 9]).logarithmic


def made(line: int, *, same: bool | None = False, **sides: dict[str, Any]) -> Compared:
    """A comparison; sides are given by what they have beyond the usual."""

    def side(name: SideName) -> Side:
        usual = {
            "side": name,
            "spec": f"spec-{name}",
            "text": f"{name} says so",
            "duration_s": 0.5,
            "cost_usd": Decimal("0.001"),
        }
        given: dict[str, Any] = {**usual, **sides.get(name, {})}
        return Side(**given)

    comparison = Comparison(same=same, judge="exact", why="why", similarity=0.5, diff="", new=side("new"), old=side("old"))
    return Compared(line=line, prompt=f"prompt {line}", comparison=comparison)


def page_of(compared: Sequence[Compared]) -> Read:
    summary = summarise([each.observation for each in compared])
    return Read(make_page(compared, summary, old="spec-old", new="spec-new", made_at=0.0))


FAILED = {"text": "", "error": "It was down.", "error_code": "overloaded"}


@pytest.mark.parametrize(
    "compared",
    [
        [made(1)],
        [made(1, same=True)],
        [made(1, same=None, old=FAILED, new=FAILED)],
        [made(1, same=None, old=FAILED), made(2, new={"cost_usd": None})],
        [made(1, old={"duration_s": 0.0, "cost_usd": Decimal(0)}, new={"duration_s": 0.0, "cost_usd": Decimal(0)})],
        [made(1, old={"text": ""}, new={"text": "x " * 40_000})],
        [made(1, old={"cost_usd": None}, new={"cost_usd": None}), made(2, new={"duration_s": 400.0, "cost_usd": Decimal(40)})],
    ],
)
def test_a_page_can_be_made_of_whatever_came_of_a_run(compared: list[Compared]) -> None:
    read = page_of(compared)
    named = [attributes["id"] for _, attributes in read.elements if attributes.get("id")]
    assert len(named) == len(set(named))
    assert sum(element == "h1" for element, _ in read.elements) == 1
    assert "nan" not in "".join(read.text).lower().split()


def test_failures_and_differences_are_shown_and_what_is_the_same_is_not() -> None:
    shown = page_of([made(1, same=True), made(2), made(3, same=None, new=FAILED), made(4, same=None)])
    prompts = [text for text in shown.text if re.fullmatch(r"prompt \d", text)]
    assert prompts == ["prompt 2", "prompt 3", "prompt 4"]


def test_a_page_of_very_many_differences_shows_the_first_and_says_how_many_there_are() -> None:
    read = page_of([made(number) for number in range(1, MOST + 21)])
    assert sum(element == "article" for element, _ in read.elements) == MOST
    assert f"{MOST + 20} prompts of {MOST + 20} whose answers differ" in "".join(read.text)
    assert f"The first {MOST} are here" in "".join(read.text)


def test_without_its_script_a_page_shows_all_answers_and_no_filter() -> None:
    read = page_of([made(1), made(2)])
    [form] = [attributes for element, attributes in read.elements if element == "form"]
    assert "hidden" in form
    assert not [attributes for element, attributes in read.elements if element == "article" and "hidden" in attributes]


def test_a_result_that_was_changed_by_hand_is_an_error_that_names_its_line() -> None:
    document = made(3).to_document()
    assert load_compared(document) == made(3)
    with pytest.raises(Exception, match="The result of line 3 cannot be read"):
        load_compared({**document, "similarity": "much"})


def _pair(new_s: float, old_s: float) -> Compared:
    def side(name: SideName, time_s: float) -> Side:
        return Side(side=name, spec=name, text="Paris", duration_s=time_s, cost_usd=Decimal("0.001"))

    same = Comparison(same=True, judge="exact", why="", similarity=1.0, diff="", new=side("new", new_s), old=side("old", old_s))
    return Compared(line=1, prompt="?", comparison=same)


@pytest.mark.parametrize(("faster", "marked"), [(10, True), (6, False)])
def test_the_terminal_marks_a_side_as_better_only_where_that_is_more_than_chance(
    capsys: pytest.CaptureFixture[str], faster: int, marked: bool
) -> None:
    """In both the median is a third lower; of ten pairs, all or six."""
    pairs = [_pair(0.4, 0.6) for _ in range(faster)] + [_pair(0.61, 0.6) for _ in range(10 - faster)]
    summary = summarise([each.observation for each in pairs])
    compare_table.show(summary, "old", "new", None)
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("time, median"))
    assert row.split() == ["time,", "median", "600", "ms", "400", "ms", *(["*"] if marked else [])]
