"""The report of many comparisons: one HTML file that holds all it needs and asks nobody for anything.

    markup.py    text into HTML: everything is escaped but what this package itself made
    figures.py   the figures that the page shows, and holds as JSON
    scale.py     axes: where values lie, and which of them are named
    plots.py     bars and distributions as SVG
    answers.py   answers side by side, with the words in which they differ marked
    page.py      the page of all this, with page.css and page.js in it

Prompts and answers are written by strangers. So no text of theirs becomes markup, and a policy in the page itself allows no
script but the page's own (https://www.w3.org/TR/CSP3/).
"""

from podium.cli.report.page import make_page

__all__ = ["make_page"]
