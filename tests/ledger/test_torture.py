from pathlib import Path

from ledger.torture import torture


def test_processes_that_are_killed_under_load_leave_a_ledger_that_agrees_with_what_was_served(tmp_path: Path) -> None:
    """A short run of `tests/ledger/torture.py`, which kills 200 times by default."""
    verdict = torture(tmp_path, kills=8, processes=4, concurrency=6, seed=1)
    assert verdict.faults == []
    assert verdict.kills == 12
    assert verdict.unknown > 0
    assert verdict.answered > 50
    assert verdict.attempts >= verdict.exchanges
    assert verdict.corrupt == 0
