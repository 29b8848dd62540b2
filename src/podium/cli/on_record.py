"""What the commands of the ledger share: their options, the window of time that is asked about, and the ledger itself.

Rules. Asking leaves no folder behind. A ledger that cannot be written is read as it is, and that is said.
"""

from __future__ import annotations

import os
import re
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import console
from podium.cli.source import open_models
from podium.errors import RequestError

if TYPE_CHECKING:
    from podium.engine.models import Models
    from podium.ledger import Ledger

_AGO = re.compile(r"(\d{1,4})([hdw])")
_AGO_S = {"h": 3600, "d": 86400, "w": 7 * 86400}

SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="From when on: 2026-03-01, 2026-03-01T12:00Z, or 24h, 7d, 4w ago.", show_default=False
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Until when; a date includes its day.", show_default=False),
]
ZoneOption = Annotated[str, typer.Option("--tz", metavar="ZONE", help="Time zone of the days: an IANA name.")]
DataOption = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", help="The data folder. Default: the config's.", show_default=False),
]


def load_window(since: str | None, until: str | None, tz: str) -> dict[str, Any]:
    """Return `since`, `until` and `tz` as the ledger takes them; `7d` is so long ago.

    Raises `RequestError` for what is no time or no zone, and for a window that ends before it begins.
    """
    from podium.ledger.usage import ask

    window: dict[str, Any] = {"since": _instant(since), "until": _instant(until), "tz": tz}
    try:
        question = ask((), where=None, **window)
    except RequestError as error:
        if error.param in ("since", "until"):
            error.hint = "Write 2026-03-01 or 2026-03-01T12:00Z, or how long ago: 24h, 7d, 4w."
        raise
    begin, end = question.since_us, question.until_us
    if begin is not None and end is not None and begin >= end:
        raise RequestError(
            f"--until {until} is not after --since {since}, so nothing lies between them.",
            param="until",
            hint="Change them round.",
        )
    return window


def _instant(text: str | None) -> str | float | None:
    if text is not None and (ago := _AGO.fullmatch(text)):
        return time.time() - int(ago[1]) * _AGO_S[ago[2]]
    return text


class Asked:
    """The ledger that a command asks, opened for as long as it does."""

    ledger: Ledger

    def __init__(self, config: str | None, data: str | None) -> None:
        self._config = config
        self._data = data
        self.folder: str | None = data
        self.wait_s = 1.0
        """How long to wait for what was just recorded."""

    @cached_property
    def models(self) -> Models:
        """What the config knows, prices among it."""
        return open_models(self._config).models

    def __enter__(self) -> Asked:
        from podium.ledger import Ledger

        if self.folder is None:
            self.folder = self.models.snapshot.data_dir
        elif not Path(self.folder).is_dir():
            raise RequestError(f"There is no data folder {self.folder}.", hint="Name the folder that has ledger.sqlite3.")
        if self.folder is not None and Path(self.folder).exists() and not Path(self.folder).is_dir():
            raise RequestError(
                f"The data folder {self.folder} is a file, so nothing can be on record in it.",
                hint="Move that file away, or set `data_dir` to a folder.",
            )
        there = self.folder is not None and Path(self.folder).is_dir()
        self.ledger = Ledger.open(self.folder) if there else Ledger.open(None, store="memory:")
        if self.folder is not None and there and not os.access(self.folder, os.W_OK):
            self.wait_s = 0.0  # an auditor's copy: nobody here can move what is in the journals
            console.say(
                f"{self.folder} cannot be written by you: what is in its journals and not yet in the ledger is left out."
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.close()
