"""What the ledger's tests share: a data folder with room for a journal, its drainer, and an end for every store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.made import drainer_of
from podium.ledger.drainer import Drainer
from podium.ledger.ledger import JOURNAL_FOLDER
from podium.ledger.sqlite import SqliteStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder."""
    (tmp_path / JOURNAL_FOLDER).mkdir()
    return tmp_path


@pytest.fixture
def drainer(folder: Path) -> Iterator[Drainer]:
    """What drains that folder."""
    drainer, store = drainer_of(folder)
    yield drainer
    drainer.resign()
    store.close()


@pytest.fixture(autouse=True)
def every_store_is_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Python 3.13 complains of a connection that the collector has to close, in whichever test that happens."""
    made: list[SqliteStore] = []
    begin = SqliteStore.__init__

    def begin_and_tell(store: SqliteStore, *arguments: Any, **settings: Any) -> None:
        begin(store, *arguments, **settings)
        made.append(store)

    monkeypatch.setattr(SqliteStore, "__init__", begin_and_tell)
    yield
    for store in made:
        store.close()
