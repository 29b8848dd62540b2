"""The files of a command: what is read must not be written over.

Rules. A slip of the tongue costs no work: the prompts, the results and anything that is no report are left as they are.
"""

from __future__ import annotations

from pathlib import Path

from podium.cli.source import naming_file
from podium.errors import RequestError


def _are_same(one: str, other: str) -> bool:
    """Whether two paths lead to one file, be it by another name of it."""
    if Path(one).resolve() == Path(other).resolve():
        return True
    return Path(one).exists() and Path(other).exists() and Path(one).samefile(other)


def _is_page(path: Path) -> bool:
    """Whether a file is, or may become, a report: what is there is not overwritten for a slip of the tongue."""
    with path.open("rb") as file:
        begin = file.read(15).lower()
    return not begin or begin == b"<!doctype html>"


def check_files(prompts: str | None, out: str | None, report: str | None = None) -> None:
    """See that no file is written over another that is read or written. Raises `RequestError`."""
    for option, path in (("--out", out), ("--report", report)):
        if path is not None and prompts is not None and _are_same(path, prompts):
            raise RequestError(f"{option} is the file of the prompts itself.", hint=f"Give another {option}.")
    if report is not None and not Path(report).resolve().parent.is_dir():
        raise RequestError(f"--report {report}: there is no such folder.", hint="Make it first, or give another --report.")
    if report is not None and Path(report).is_file() and not _is_page(Path(report)):
        raise RequestError(
            f"--report {report}: there is a file that is no report.", hint="Give another --report, or remove that file."
        )
    if out is not None and report is not None and _are_same(out, report):
        raise RequestError("--out and --report are the same file.", hint="Give another --report.")
    if report is not None:
        _see_writable(Path(report))


def _see_writable(report: Path) -> None:
    """See that a report can be written, before money is spent on what it is to show. Raises `RequestError`."""
    there = report.exists()
    file = report if there else report.resolve()  # what a link leads to is removed again, not the link
    if file.is_fifo():
        return  # it would wait for a reader
    with naming_file(report, "The report"), file.open("ab"):
        pass
    if not there:
        file.unlink()
