"""What the ledger's tests share: a data folder with room for a journal."""

from pathlib import Path

import pytest

from podium.ledger.ledger import JOURNAL_FOLDER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder."""
    (tmp_path / JOURNAL_FOLDER).mkdir()
    return tmp_path
