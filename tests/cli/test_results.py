import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.cli.jobs import Job
from podium.cli.results import Results
from podium.errors import RequestError


def jobs_of(prompts: list[int], named: bool) -> list[Job]:
    return [
        Job(line=number, key=f"key-{prompt}", id=f"id-{number}" if named else None) for number, prompt in enumerate(prompts, 1)
    ]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def is_good(line: bytes) -> bool:
    """Whether this is a whole line with an answer."""
    try:
        return bool(json.loads(line)["ok"])
    except ValueError:
        return False


@settings(max_examples=150, deadline=None)
@given(data=st.data(), named=st.booleans(), prompts=st.lists(st.integers(0, 3), min_size=1, max_size=7))
def test_whatever_happens_to_a_run_the_next_ones_end_with_every_answer_once_and_in_order(
    data: st.DataObject, named: bool, prompts: list[int]
) -> None:
    """Runs end early, by Ctrl-C or a crash that tears the file at any byte; jobs end in any order, and some fail."""
    jobs = jobs_of(prompts, named)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "o.jsonl"
        for _ in range(data.draw(st.integers(0, 4), "runs that end early")):
            with Results(str(path), jobs) as results:
                done = data.draw(st.permutations(results.todo), "order")[: data.draw(st.integers(0, len(results.todo)), "done")]
                for job in done:
                    results.add(job, {"ok": data.draw(st.booleans(), "ok"), "text": f"answer to {job.key}"})
                before = path.read_bytes()
            if data.draw(st.booleans(), "crashes"):
                whole = before[: data.draw(st.integers(0, len(before)), "torn at")]
                path.write_bytes(whole)
                kept = sum(1 for line in whole.splitlines(keepends=True) if is_good(line))
                with Results(str(path), jobs) as after:
                    assert len(after.kept) == kept
        with Results(str(path), jobs) as results:
            for job in data.draw(st.permutations(results.todo), "last order"):
                results.add(job, {"ok": True, "text": f"answer to {job.key}"})
        assert [(line["line"], line.get("id"), line["text"]) for line in lines_of(path)] == [
            (job.line, job.id, f"answer to {job.key}") for job in jobs
        ]
        assert [each.name for each in Path(folder).iterdir()] == ["o.jsonl"]
        with Results(str(path), jobs) as after:
            assert after.todo == []


def test_answers_are_on_disk_before_the_run_ends_even_out_of_order(tmp_path: Path) -> None:
    jobs = jobs_of([0, 1, 2], named=False)
    results = Results(str(tmp_path / "o.jsonl"), jobs)
    results.add(jobs[2], {"ok": True, "text": "last"})
    assert [line["line"] for line in lines_of(tmp_path / "o.jsonl")] == [3]
    results.add(jobs[0], {"ok": True, "text": "first"})
    results.close()
    assert [line["line"] for line in lines_of(tmp_path / "o.jsonl")] == [1, 3]


def test_an_id_whose_question_changed_is_refused_and_not_taken_for_answered(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    before = Results(str(path), [Job(line=1, key="old", id="a")])
    before.add(before.todo[0], {"ok": True, "text": "x"})
    before.close()
    with pytest.raises(RequestError, match="none of these prompts"):
        Results(str(path), [Job(line=1, key="new", id="a")])
    with Results(str(path), [Job(line=1, key="new", id="a")], fresh=True) as fresh:
        assert fresh.todo


def test_a_result_keeps_its_files_permissions_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    real.write_text("")
    real.chmod(0o600)
    link.symlink_to(real)
    jobs = jobs_of([0, 1], named=False)
    results = Results(str(link), jobs)
    for job in reversed(jobs):
        results.add(job, {"ok": True})
    results.close()
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert [line["line"] for line in lines_of(real)] == [1, 2]


@pytest.mark.parametrize("kept", [[], [1, 0]], ids=["a new file", "a file that is put in order first"])
@pytest.mark.parametrize("fresh", [False, True])
def test_of_two_runs_at_once_on_one_file_the_second_is_refused_before_it_costs_anything(
    tmp_path: Path, kept: list[int], fresh: bool
) -> None:
    path = tmp_path / "o.jsonl"
    jobs = jobs_of([0, 1, 2, 3], named=False)
    path.write_bytes(b"".join(json.dumps({"ok": True, "key": jobs[place].key}).encode() + b"\n" for place in kept))
    with Results(str(path), jobs) as first:
        first.add(jobs[3], {"ok": True})
        with pytest.raises(RequestError, match="Another run writes to"):
            Results(str(path), jobs, fresh=fresh)
        first.add(jobs[2], {"ok": True})
    with Results(str(path), jobs) as second:
        assert second.kept == {*(place + 1 for place in kept), 3, 4}
    assert [each.name for each in tmp_path.iterdir()] == ["o.jsonl"]


def test_a_run_that_is_refused_its_file_lets_it_go(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    path.write_text("not a result\n")
    with pytest.raises(RequestError, match="no result of"):
        Results(str(path), jobs_of([0], named=False))
    with Results(str(path), jobs_of([0], named=False), fresh=True) as results:
        assert results.todo


def test_a_file_that_is_deleted_under_a_run_is_whole_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    jobs = jobs_of([0, 1], named=False)
    with Results(str(path), jobs) as results:
        results.add(jobs[0], {"ok": True})
        path.unlink()
        results.add(jobs[1], {"ok": True})
    assert [line["line"] for line in lines_of(path)] == [1, 2]


def test_results_are_put_in_order_through_a_link_to_another_disk(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        if os.stat(elsewhere).st_dev == os.stat(tmp_path).st_dev:
            pytest.skip("There is one disk alone.")
        link, file = tmp_path / "o.jsonl", Path(elsewhere) / "results.jsonl"
        link.symlink_to(file)
        with Results(str(link), jobs := jobs_of([1, 2], named=False)) as results:
            for job in reversed(jobs):
                results.add(job, {"ok": True})
        assert link.is_symlink()
        assert [line["line"] for line in lines_of(file)] == [1, 2]
        assert [each.name for each in Path(elsewhere).iterdir()] == ["results.jsonl"]
