"""The page: which side is better, in a sentence and a picture; then what it rests on, from the outside in.

Rules.
- The first screen is for a stranger: a sentence, and bars of both sides with a word on who is better in what. No bar is called
  better where the summary does not (`compare_summary`): chance is no merit.
- Every section can be read without its plot, every plot without colours, and all of it without the script, which filters.
- Figures carry `data-figure`, their name in the JSON of the page.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Sequence
from importlib import resources

import podium
from podium.cli.compared import Compared
from podium.cli.console import plural, seconds
from podium.cli.report.answers import MOST, kind_of, show_answers, worth_showing
from podium.cli.report.figures import Distribution, Figures, distribution, make_figures, to_document, usd
from podium.cli.report.markup import Child, Markup, json_block, raw, tag
from podium.cli.report.plots import Measure, bar, distributions, stack
from podium.routing.compare import SideName
from podium.routing.compare_summary import NOTABLE, Summary, Totals, leading

_NEAR = f"less than {NOTABLE:.0%} apart"
_CATEGORIES = 40
"""Categories that have a row of their own."""
_SIDES: tuple[SideName, SideName] = ("old", "new")


def make_page(
    compared: Sequence[Compared], summary: Summary, *, old: str, new: str, made_at: float, note: str | None = None
) -> str:
    """Return the report of comparisons as one HTML document; `made_at` is an instant, in seconds since the epoch."""
    figures = make_figures(compared, summary)
    style, script = (resources.files("podium.cli.report").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    policy = f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{summary.headline} · {old} and {new} compared"),
        tag("link", rel="icon", href="data:,"),
        tag("style", raw(style)),
    )
    body = tag(
        "body",
        _header(figures, old, new, made_at, note),
        tag("main", _plots(figures), _agreement(summary), _failures(figures), _answers(compared)),
        tag(
            "footer", tag("p", f"Made by Podium {podium.__version__}. This file holds all that it shows and asks for nothing.")
        ),
        json_block(to_document(figures, old, new), "figures"),
        tag("script", raw(script)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


# --- the first screen ----------------------------------------------------------------------------------------------------


def _header(figures: Figures, old: str, new: str, made_at: float, note: str | None) -> Markup:
    summary = figures.summary
    when = time.strftime("%d %B %Y, %H:%M UTC", time.gmtime(made_at)).lstrip("0")
    named = (tag("span", _chip(side), " ", tag("code", spec)) for side, spec in zip(_SIDES, (old, new), strict=True))
    return tag(
        "header",
        tag("p", f"{plural(summary.n, 'prompt')} compared · {when}", class_="dim"),
        tag("h1", summary.headline, class_=f"verdict {summary.verdict}"),
        tag("p", named, class_="named"),
        tag("div", _cards(summary), class_="cards"),
        tag("ul", (tag("li", fact) for fact in (*summary.facts, note) if fact), class_="facts"),
    )


def _chip(side: SideName) -> Markup:
    return tag("b", side, class_=f"chip {side}")


def _cards(summary: Summary) -> list[Markup]:
    old, new = summary.old, summary.new
    cards = []
    if old.checked and new.checked:
        rows = [(each.right / each.checked, f"{each.right:,} of {each.checked:,}", f"{each.side}.right") for each in (old, new)]
        cards.append(_card("Right answers", "more is better", rows, summary.right.leader, "is right more often"))
    elif summary.agreement is not None:
        cards.append(_agreement_card(summary))
    rows = [(each.failed / summary.n, f"{each.failed:,} of {summary.n:,}", f"{each.side}.failed") for each in (old, new)]
    cards.append(_card("Failures", "less is better", rows, summary.reliable, "fails less often"))
    if summary.old_s is not None and summary.new_s is not None:
        slowest = max(summary.old_s, summary.new_s) or 1.0
        times = zip(_SIDES, (summary.old_s, summary.new_s), strict=True)
        rows = [(each / slowest, seconds(each), f"pairs.{side}_p50_s") for side, each in times]
        words = _less(summary.latency_ratio, "faster")
        cards.append(_card("Time at the median", "less is better", rows, summary.quicker, words))
    if summary.priced:
        dearest = max(summary.old_usd, summary.new_usd) or 1
        costs = zip(_SIDES, (summary.old_usd, summary.new_usd), strict=True)
        rows = [(float(each / dearest), usd(each), f"pairs.{side}_usd") for side, each in costs]
        words = _less(summary.cost_ratio, "cheaper")
        title = f"Cost of {plural(summary.priced, 'prompt')}"
        cards.append(_card(title, "less is better", rows, summary.cheaper, words, _NEAR))
    return cards


def _card(
    title: str,
    which: str,
    rows: Sequence[tuple[float, str, str]],
    better: SideName | None,
    words: str,
    neither: str = "no difference beyond chance",
) -> Markup:
    """A measure of both sides, each with its share of a bar, its words and the name of its figure.

    `better` is the side that is, and `words` what it is, or `neither` where none is.
    """
    drawn = []
    for side, (share, written, figure) in zip(_SIDES, rows, strict=True):
        value = tag("span", written, class_="value", data_figure=figure)
        drawn.append(tag("div", _chip(side), bar(share, side), value, class_="row"))
    end = tag("p", neither if better is None else f"✓ {better} {words}", class_=f"end {better or 'none'}")
    return tag("section", tag("h2", title, tag("small", which)), drawn, end, class_="card")


def _agreement_card(summary: Summary) -> Markup:
    judged = summary.same + summary.different
    share = tag("span", f"{summary.same:,} of {judged:,}", class_="value", data_figure="same")
    return tag(
        "section",
        tag("h2", "Same answers"),
        tag("div", tag("b", "both", class_="chip both"), bar(summary.agreement or 0, "same"), share, class_="row"),
        tag("p", "which of those that differ are better is yours to read", class_="end none"),
        class_="card",
    )


def _less(ratio: float | None, less: str) -> str:
    """What the side with less is, by the ratio of new to old."""
    return f"is {less}" if not ratio else f"is {1 - min(ratio, 1 / ratio):.0%} {less}"


# --- what it rests on ----------------------------------------------------------------------------------------------------


def _section(name: str, title: str, *children: Child) -> Markup:
    return tag("section", tag("h2", title, id=name), *children, aria_labelledby=name)


_TIME = Measure("duration_s", "seconds to the whole answer", seconds, "{} s")
_COST = Measure("cost_of_1000_usd", "USD for 1,000 such answers", usd, "${}")


def _plots(figures: Figures) -> Markup:
    drawn = []
    if figures.old_s or figures.new_s:
        drawn.append(_figure("Time of each answer", figures.old_s, figures.new_s, _TIME))
    if figures.old_usd or figures.new_usd:
        drawn.append(_figure("Cost of each answer", figures.old_usd, figures.new_usd, _COST))
    return _section("spread", "Time and cost, answer by answer", tag("div", drawn, class_="plots"), _sums(figures.summary))


def _figure(title: str, old: Sequence[float], new: Sequence[float], of: Measure) -> Markup:
    rows = (_lies("old", distribution(old), of), _lies("new", distribution(new), of))
    titles = ("side", "answers", "least", "median", "mean", "95 % under", "most")
    table = tag("table", tag("caption", f"{title}, in figures"), _titles(titles), tag("tbody", rows))
    return tag(
        "figure",
        tag("figcaption", title, tag("small", "how many answers lie where")),
        distributions(old, new, of),
        _scrolled(table, f"{title}, in figures"),
    )


def _lies(side: SideName, found: Distribution, of: Measure) -> Markup:
    values = {"least": found.least, "p50": found.p50, "mean": found.mean, "p95": found.p95, "most": found.most}
    cells = [tag("td", of.written(each), data_figure=f"{side}.{of.name}.{name}") for name, each in values.items()]
    return tag("tr", tag("th", _chip(side), scope="row"), tag("td", found.n, data_figure=f"{side}.{of.name}.n"), cells)


def _sums(summary: Summary) -> Markup:
    def row(side: Totals) -> Markup:
        counts = {"answered": side.answered, "input_tokens": side.input_tokens, "output_tokens": side.output_tokens}
        cells = [tag("td", each, data_figure=f"{side.side}.{name}") for name, each in counts.items()]
        unknown = f" and {side.unpriced:,} unknown" if side.unpriced else None
        cost = tag("td", tag("span", usd(side.cost_usd), data_figure=f"{side.side}.cost_usd"), unknown)
        return tag("tr", tag("th", _chip(side.side), scope="row"), cells, cost)

    titles = _titles(("side", "answered", "tokens in", "tokens out", "cost, failures included"))
    table = tag("table", tag("caption", "Sums over all prompts"), titles, tag("tbody", row(summary.old), row(summary.new)))
    return _scrolled(table, "Sums over all prompts")


def _scrolled(table: Markup, name: str) -> Markup:
    """Hold a table that may be wider than a phone, so that it can be scrolled by keys too."""
    return tag("div", table, class_="wide", tabindex=0, role="group", aria_label=name)


def _titles(titles: Sequence[str], last: str | None = None) -> Markup:
    """The head of a table; `last` is the class of its last column, where that is not of figures."""
    classes = [None] * (len(titles) - 1) + [last]
    return tag(
        "thead", tag("tr", (tag("th", title, scope="col", class_=kind) for title, kind in zip(titles, classes, strict=True)))
    )


def _agreement(summary: Summary) -> Markup:
    rows = []
    for each in leading(summary.categories, _CATEGORIES):
        counts = (each.same, each.different, each.incomparable)
        head = tag("th", each.name or "(no category)", scope="row")
        rows.append(tag("tr", head, (tag("td", count) for count in counts), tag("td", _shares(counts), class_="drawn")))
    whole = {"same": summary.same, "different": summary.different, "incomparable": summary.incomparable}
    cells = [tag("td", count, data_figure=name) for name, count in whole.items()]
    drawn = tag("td", _shares(tuple(whole.values())), class_="drawn")
    foot = tag("tfoot", tag("tr", tag("th", "all", scope="row"), cells, drawn))
    titles = _titles(("category", "same", "differ", "not compared", "share"), "drawn")
    table = tag("table", tag("caption", "Answers by category"), titles, tag("tbody", rows), foot)
    words = {"same": "same", "different": "differ", "incomparable": "not compared: a side failed, or neither can be read"}
    swatches = ((stack([(1, kind)]), each) for kind, each in words.items())
    key = tag("p", "In the bars, from left to right:", swatches, class_="dim key")
    return _section("agreement", "Where both give the same answer", _scrolled(table, "Answers by category"), key)


def _shares(counts: tuple[int, ...]) -> Markup:
    return stack(list(zip(counts, ("same", "different", "incomparable"), strict=True)))


def _failures(figures: Figures) -> Markup:
    if not figures.failures:
        return _section("failures", "Failures", tag("p", "Neither side failed."))
    rows = []
    for each in figures.failures:
        words = tag("td", each.example, class_="words")
        rows.append(tag("tr", tag("th", each.kind, scope="row"), tag("td", each.old), tag("td", each.new), words))
    titles = _titles(("kind", "old", "new", "what one of them said"), "words")
    table = tag("table", tag("caption", "Failures by kind"), titles, tag("tbody", rows))
    return _section("failures", "Failures", _scrolled(table, "Failures by kind"))


def _answers(compared: Sequence[Compared]) -> Markup:
    worth = [each for each in compared if worth_showing(each)]
    if not worth:
        return _section("differences", "Answers that differ", tag("p", "All answers are the same."))
    shown = worth[:MOST]
    words = f"{plural(len(worth), 'prompt')} of {len(compared):,} whose answers differ, or that a side did not answer."
    if len(worth) > len(shown):
        words += f" The first {len(shown):,} are here; the file of results has all."
    key = tag(
        "p",
        words,
        " Words that only old has are ",
        tag("del", "struck through"),
        ", those that only new has are ",
        tag("ins", "underlined"),
        ".",
    )
    return _section("differences", "Answers that differ", key, _filters(shown), show_answers(shown))


def _filters(shown: Sequence[Compared]) -> Markup:
    """What the script filters by; without it, there is nothing to be seen of it."""
    kinds = dict.fromkeys(kind_of(each) for each in shown)
    categories = dict.fromkeys(each.category for each in shown)
    orders = (tag("option", "of the file", value="order"), tag("option", "least alike first", value="alike"))
    return tag(
        "form",
        tag("label", "Search ", tag("input", type="search", id="search", autocomplete="off")),
        _choice("kind", "What ", "all", kinds),
        _choice("category", "Category ", "all", categories) if len(categories) > 1 else None,
        tag("label", "Order ", tag("select", orders, id="sort")),
        tag("p", id="found", role="status"),
        id="filters",
        hidden=True,
    )


def _choice(name: str, title: str, every: str, values: dict[str, None]) -> Markup:
    options = [tag("option", value or "(none)", value=f"={value}") for value in values]
    return tag("label", title, tag("select", tag("option", every, value=""), options, id=name))
