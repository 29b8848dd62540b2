"""The documents of the project, and what is in them: fenced blocks, tables, links, anchors.

Rules. A block may be marked by an HTML comment on the line before its fence (`<!-- test: ... -->`, which no reader sees):

    output          this text is what the block before it prints; `...` stands for anything
    fragment        a part of a config: it is laid over the last whole config of the page
    wrong, error    a config that is refused, and the words by which it is
    fails           a command that exits with an error
    file NAME       this JSON is that file
    skip: reason    not run
    soon            what a command shows after a while (the tutorial's service works in the background)

A table may be marked by `<!-- table: name -->`, and is then compared with the code.
"""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")),
)

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]*)$")
_MARK = re.compile(r"<!-- test: (.+?) -->")
_LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])+\]\(([^)\s]+)\)")
_FILE = re.compile(r"# ([\w./-]+\.(?:py|yaml))")


class Block(NamedTuple):
    """One fenced block."""

    document: str
    line: int
    language: str
    text: str
    mark: str

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that the block is, where its first line is a comment with a path and nothing else."""
        found = _FILE.fullmatch(self.text.split("\n", 1)[0])
        return found[1] if found else None


def read(document: str) -> str:
    return (ROOT / document).read_text("utf-8")


def blocks(document: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    found: list[Block] = []
    mark, opened, language, begun, lines = "", "", "", 0, list[str]()
    for number, line in enumerate(read(document).splitlines(), 1):
        fence = _FENCE.match(line)
        if begun:
            if line.strip() == "```":
                found.append(Block(document, begun, language, "\n".join(lines), mark))
                mark, begun = "", 0
            else:
                lines.append(line.removeprefix(opened))
        elif fence:
            opened, language, begun, lines = fence["indent"], fence["language"], number, []
        elif marked := _MARK.fullmatch(line.strip()):
            mark = marked[1]
        elif line.strip():
            assert not mark, f"{document}:{number}: the mark `test: {mark}` stands before no block"
    assert not begun, f"{document}:{begun}: this block has no end"
    return found


def prose(document: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", read(document), flags=re.DOTALL | re.MULTILINE)


def table(document: str, name: str) -> list[list[str]]:
    """The rows of a marked table, its head left out."""
    _, mark, rest = read(document).partition(f"<!-- table: {name} -->\n")
    assert mark, f"{document} has no table {name}"
    rows = []
    for line in rest.splitlines():
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
    return rows[2:]


def quoted(cell: str) -> list[str]:
    """What stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def links(document: str) -> list[str]:
    return _LINK.findall(re.sub(r"`[^`]*`", "", prose(document)))


def anchors(document: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(block: Block) -> list[tuple[str, str]]:
    """Each command of a block, and the lines that it is said to print."""
    if block.language == "bash":
        joined = block.text.replace("\\\n", " ")
        return [(line, "") for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    found: list[tuple[str, str]] = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, said = part.partition("\n")
        found.append((command, said.strip()))
    assert found, "a console block has no line that begins with `$ `"
    return found


def compare(wanted: str, printed: str) -> None:
    """See that a text is what a document shows; `...` there stands for anything, and blanks for any blanks."""
    checker = doctest.OutputChecker()
    if not checker.check_output(wanted + "\n", printed + "\n", _FLAGS):
        raise AssertionError(f"the document shows\n\n{wanted}\n\nand what comes is\n\n{printed}")
