"""Where rollouts stand: seeded once, changed by many, undone, lost and found again."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from coordination.stood import with_user
from podium.coordination.rollouts import KEEP_COUNTS_MIN, SqliteRollouts, Store, Watch
from podium.coordination.rollouts_memory import MemoryRollouts
from podium.errors import RequestError, StoreError
from podium.routing.rollout import Rollout, Rule

HERE = Path(__file__).parent
CHAT = Rollout(
    name="chat",
    match=("gpt-4", "openai/gpt-4o"),
    legacy="openai/gpt-4o",
    candidate="tier:high",
    percent=10.0,
    test_users=("ann", "Jörg 😀"),
    rules=(Rule(team="search", percent=50.0), Rule(user="bob", tag="batch", arm="legacy")),
)
SEARCH = Rollout(name="search", candidate="tier:high", percent=100.0, hash="legacy_js", unit="team")
SEEDS = {"chat": CHAT, "search": SEARCH}


def at(percent: float) -> Callable[[Rollout], Rollout]:
    return lambda rollout: rollout.replace(percent=percent)


def switched(enabled: bool) -> Callable[[Rollout], Rollout]:
    return lambda rollout: rollout.replace(enabled=enabled)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "rollouts.sqlite3"


@pytest.fixture
def store(path: Path) -> SqliteRollouts:
    made = SqliteRollouts(path)
    made.open(SEEDS, who="ann")
    return made


@pytest.fixture(params=["memory", "sqlite"])
def any_store(request: pytest.FixtureRequest, path: Path) -> Store:
    made: Store = MemoryRollouts() if request.param == "memory" else SqliteRollouts(path)
    made.open(SEEDS, who="ann")
    return made


# --- changes and their record --------------------------------------------------------------------------------------------


def test_the_config_seeds_a_rollout_once_then_the_store_says_how_it_stands(any_store: Store) -> None:
    any_store.change("chat", "set", at(25), who="bob", why=None)
    states = any_store.open({"chat": CHAT.replace(percent=99.0, enabled=False), "search": SEARCH}, who="cleo")
    assert states == {"chat": CHAT.replace(percent=25.0), "search": SEARCH}
    assert [change.action for change in any_store.history(None, 10)] == ["set", "seed", "seed"]


def test_a_rollout_that_the_config_gains_later_is_seeded_beside_those_that_stand(any_store: Store) -> None:
    fresh = Rollout(name="fresh", candidate="tier:high", percent=1.0)
    any_store.change("chat", "disable", switched(False), who="bob", why=None)
    states = any_store.open({**SEEDS, "fresh": fresh}, who="cleo")
    assert states["fresh"] == fresh
    assert not states["chat"].enabled


def test_a_change_is_on_record_with_who_when_why_and_both_states(any_store: Store) -> None:
    begun = time.time()
    after, states = any_store.change("chat", "set", at(25), who="bob", why="a quiet week")
    assert states["chat"] == after == CHAT.replace(percent=25.0)
    change = any_store.history("chat", 1)[0]
    assert (change.name, change.action, change.who, change.why) == ("chat", "set", "bob", "a quiet week")
    assert (change.before, change.after, change.undoes) == (CHAT, after, None)
    assert begun <= change.at <= time.time()


def test_a_change_that_changes_nothing_is_not_on_record(any_store: Store) -> None:
    any_store.change("chat", "set", at(10), who="bob", why=None)
    assert [change.action for change in any_store.history("chat", 10)] == ["seed"]


def test_a_change_that_is_refused_leaves_everything_as_it_was(any_store: Store) -> None:
    def refuse(rollout: Rollout) -> Rollout:
        raise RequestError("No.")

    with pytest.raises(RequestError, match="No"):
        any_store.change("chat", "set", refuse, who="bob", why=None)
    with pytest.raises(RequestError, match="101"):
        any_store.change("chat", "set", at(101), who="bob", why=None)
    assert any_store.open(SEEDS, who="bob") == SEEDS
    any_store.change("chat", "set", at(11), who="bob", why=None)  # nothing was left locked


def test_undo_takes_back_change_after_change_and_never_twice_the_same(any_store: Store) -> None:
    any_store.change("chat", "set", at(25), who="a", why=None)
    any_store.change("chat", "disable", switched(False), who="b", why=None)
    first, _ = any_store.undo("chat", who="c", why="it was not the model")
    assert (first.after.enabled, first.after.percent, first.why) == (True, 25.0, "it was not the model")
    second, states = any_store.undo("chat", who="c", why=None)
    assert second.after == states["chat"] == CHAT
    assert (second.undoes or 0) < (first.undoes or 0)
    with pytest.raises(RequestError, match="no change that could be undone"):
        any_store.undo("chat", who="c", why=None)


def test_after_an_undo_a_new_change_is_the_next_to_be_undone(any_store: Store) -> None:
    any_store.change("chat", "set", at(25), who="a", why=None)
    any_store.undo("chat", who="a", why=None)
    any_store.change("chat", "set", at(30), who="a", why=None)
    any_store.undo("chat", who="a", why=None)
    assert any_store.open(SEEDS, who="a")["chat"] == CHAT
    with pytest.raises(RequestError):
        any_store.undo("chat", who="a", why=None)


def test_an_undo_concerns_its_own_rollout_alone(any_store: Store) -> None:
    any_store.change("chat", "set", at(25), who="a", why=None)
    any_store.change("search", "set", at(50), who="a", why=None)
    _, states = any_store.undo("chat", who="a", why=None)
    assert (states["chat"].percent, states["search"].percent) == (10.0, 50.0)
    assert {change.name for change in any_store.history("search", 10)} == {"search"}


def test_the_history_gives_the_last_changes_first_and_no_more_than_asked_for(any_store: Store) -> None:
    for percent in range(20, 30):
        any_store.change("chat", "set", at(percent), who="a", why=None)
    assert [change.after.percent for change in any_store.history("chat", 3)] == [29, 28, 27]
    assert len(any_store.history(None, 100)) == 12


def test_counts_of_a_minute_add_up_and_a_window_leaves_out_what_was_before(any_store: Store) -> None:
    now = int(time.time() // 60)
    any_store.add_counts({("chat", now, "candidate"): 3, ("chat", now - 60, "legacy"): 4, ("search", now, "legacy"): 9})
    any_store.add_counts({("chat", now, "candidate"): 2})
    assert any_store.counts("chat", now - 10) == {"candidate": 5}
    assert any_store.counts("chat", now - 60) == {"candidate": 5, "legacy": 4}


def test_counts_are_kept_for_31_days(any_store: Store) -> None:
    now = int(time.time() // 60)
    any_store.add_counts({("chat", now - KEEP_COUNTS_MIN - 2, "legacy"): 1})
    any_store.add_counts({("chat", now, "legacy"): 1})
    assert any_store.counts("chat", 0) == {"legacy": 1}


# --- several processes ---------------------------------------------------------------------------------------------------


def test_of_changes_by_several_processes_at_once_none_is_lost(store: SqliteRollouts) -> None:
    """They also all open a store that was not there a moment ago, and each counts."""
    store.path.unlink()
    store.copy.unlink()
    several, each = 6, 25
    arguments = [
        [sys.executable, str(HERE / "stood.py"), str(store.path), f"p{number}", str(each)] for number in range(several)
    ]
    children = [subprocess.Popen(one, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for one in arguments]
    with contextlib.ExitStack() as stack:
        for child in children:
            stack.enter_context(child)
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        assert [child.wait(60) for child in children] == [0] * several
    expected = {f"p{number}-{turn}" for number in range(several) for turn in range(each)}
    users = store.open({}, who="ann")["chat"].test_users
    assert len(users) == several * each
    assert set(users) == expected
    changes = store.history("chat", 1000)
    assert [change.action for change in changes] == ["add_user"] * several * each + ["seed"]
    assert all(change.before == earlier.after for change, earlier in itertools.pairwise(changes))
    assert store.counts("chat", 0) == {"candidate": several * each}
    assert msgspec.json.decode(store.copy.read_bytes(), type=dict[str, Rollout])["chat"].test_users == users
    assert sorted(found.name for found in store.path.parent.iterdir()) == ["rollouts.known.json", "rollouts.sqlite3"]


def test_a_watch_sees_what_another_changed_and_nothing_where_nothing_changed(store: SqliteRollouts) -> None:
    watch = Watch(store)
    assert watch.look() == SEEDS
    assert watch.look() is None
    other = SqliteRollouts(store.path)
    other.add_counts({("chat", 1_000_000_000, "legacy"): 1})
    assert watch.look() is None, "counts are no change of a rollout"
    other.change("chat", "set", at(0), who="bob", why=None)
    seen = watch.look()
    assert seen is not None
    assert seen["chat"].percent == 0
    assert watch.look() is None
    watch.close()


def test_a_watch_says_that_the_file_is_gone_and_sees_the_one_that_comes_after_it(store: SqliteRollouts) -> None:
    watch = Watch(store)
    watch.look()
    store.path.unlink()
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            watch.look()
        assert caught.value.code == "rollouts_lost"
    with pytest.raises(StoreError, match="gone"):
        store.change("chat", "set", at(0), who="bob", why=None)
    store.open(SEEDS, who="bob")
    assert watch.look() == SEEDS
    watch.close()


# --- lost and found ------------------------------------------------------------------------------------------------------


def test_a_store_that_is_gone_comes_back_from_its_copy_and_not_from_the_config(store: SqliteRollouts) -> None:
    store.change("chat", "disable", switched(False), who="bob", why=None)
    store.path.unlink()
    states = store.open(SEEDS, who="cleo")
    assert states == {"chat": CHAT.replace(enabled=False), "search": SEARCH}
    assert [(change.action, change.who) for change in store.history("chat", 10)] == [("restore", "cleo")]
    with pytest.raises(RequestError, match="no change"):
        store.undo("chat", who="bob", why=None)


def test_a_change_whose_copy_cannot_be_written_is_no_change_and_leaves_no_files(store: SqliteRollouts) -> None:
    store.copy.unlink()
    store.copy.mkdir()
    with pytest.raises(StoreError, match="cannot be used"):
        store.change("chat", "disable", switched(False), who="bob", why=None)
    assert [change.action for change in store.history("chat", 10)] == ["seed"]
    assert sorted(found.name for found in store.path.parent.iterdir()) == ["rollouts.known.json", "rollouts.sqlite3"]


def test_it_comes_back_with_rollouts_of_other_configs_that_share_it(store: SqliteRollouts) -> None:
    store.path.unlink()
    store.open({"chat": CHAT}, who="cleo")
    assert store.open({}, who="cleo").keys() == {"chat", "search"}


def test_without_a_copy_it_comes_back_as_whoever_opens_it_last_knew_it(store: SqliteRollouts) -> None:
    store.path.unlink()
    store.copy.unlink()
    states = store.open(SEEDS, who="cleo", known={"chat": CHAT.replace(percent=0.0)})
    assert states == {"chat": CHAT.replace(percent=0.0), "search": SEARCH}
    assert {change.name: change.action for change in store.history(None, 10)} == {"chat": "restore", "search": "seed"}


def test_an_empty_file_is_no_reason_to_begin_as_the_config_says(store: SqliteRollouts) -> None:
    """A crash or a full disk may leave one."""
    store.change("chat", "disable", switched(False), who="bob", why=None)
    store.path.write_bytes(b"")
    with pytest.raises(StoreError, match="empty"):
        store.history(None, 1)
    assert not store.open(SEEDS, who="cleo")["chat"].enabled


@pytest.mark.parametrize(
    "content", [b"{", b"", b"[1]", b'{"chat": {"name": "chat", "candidate": "x", "percent": 101}}', b"\xff"]
)
def test_a_copy_that_cannot_be_read_is_an_error_and_not_a_fresh_start(store: SqliteRollouts, content: bytes) -> None:
    store.path.unlink()
    store.copy.write_bytes(content)
    with pytest.raises(StoreError, match=r"rollouts\.known\.json cannot be read") as caught:
        store.open(SEEDS, who="cleo")
    assert caught.value.hint == "Remove the copy to begin with what the config says."
    store.copy.unlink()
    assert store.open(SEEDS, who="cleo") == SEEDS


def test_a_broken_copy_beside_a_store_that_is_whole_is_written_anew(store: SqliteRollouts) -> None:
    store.copy.write_bytes(b"{")
    fresh = Rollout(name="fresh", candidate="tier:high")
    store.open({**SEEDS, "fresh": fresh}, who="cleo")
    assert msgspec.json.decode(store.copy.read_bytes(), type=dict[str, Rollout]) == {**SEEDS, "fresh": fresh}


def test_a_foreign_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
        db.commit()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"rollouts\.sqlite3 is no store of rollouts") as caught:
        SqliteRollouts(path).open(SEEDS, who="ann")
    assert caught.value.hint == "Give rollouts a file of their own."
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"SQLite format 3\0 but then no more", b"no database at all" * 100])
def test_a_file_that_is_no_database_is_told_with_what_to_do(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"rollouts\.sqlite3 cannot be used: .*podium rollout list") as caught:
        SqliteRollouts(path).open(SEEDS, who="ann")
    assert caught.value.code == "rollouts_lost"
    assert path.read_bytes() == content


def test_a_path_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot be used"):
        SqliteRollouts(tmp_path / "data" / "rollouts.sqlite3").open(SEEDS, who="ann")


def test_a_state_that_no_rollout_can_have_is_told_and_not_served(store: SqliteRollouts) -> None:
    broken = msgspec.json.encode({**CHAT.to_dict(), "percent": 101})
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        db.execute("UPDATE rollouts SET state = ? WHERE name = 'chat'", (broken,))
        db.execute("UPDATE history SET after = ? WHERE name = 'chat'", (broken,))
        db.commit()
    for ask in (Watch(store).look, partial(store.history, "chat", 1), partial(store.open, SEEDS, who="ann")):
        with pytest.raises(StoreError, match="101"):
            ask()


@pytest.fixture
def locked(store: SqliteRollouts) -> Iterator[sqlite3.Connection]:
    """The store, held by somebody who writes."""
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield db
        if db.in_transaction:
            db.execute("ROLLBACK")


def test_a_locked_file_is_read_all_the_same(store: SqliteRollouts, locked: sqlite3.Connection) -> None:
    assert store.open(SEEDS, who="ann") == SEEDS
    with contextlib.closing(Watch(store)) as watch:
        assert watch.look() == SEEDS
    assert len(store.history(None, 10)) == 2


def test_a_file_that_stays_locked_refuses_a_change_and_says_so(store: SqliteRollouts, locked: sqlite3.Connection) -> None:
    store.lock_wait_s = 0.2
    with pytest.raises(StoreError, match="database is locked"):
        store.change("chat", "set", at(0), who="ann", why=None)
    with pytest.raises(StoreError, match="database is locked"):
        store.add_counts({("chat", 1_000_000_000, "legacy"): 1})
    locked.execute("ROLLBACK")
    assert store.open(SEEDS, who="ann") == SEEDS


def test_a_change_waits_for_a_file_that_is_locked_for_a_moment(store: SqliteRollouts, locked: sqlite3.Connection) -> None:
    changed: list[Rollout] = []
    thread = threading.Thread(target=lambda: changed.append(store.change("chat", "set", at(0), who="ann", why=None)[0]))
    thread.start()
    assert thread.is_alive()
    locked.execute("ROLLBACK")
    thread.join(10)
    assert [rollout.percent for rollout in changed] == [0]


def test_a_store_that_cannot_be_written_to_is_read_and_refuses_changes(
    store: SqliteRollouts, mounts: Callable[..., None]
) -> None:
    mounts("--bind", str(store.path), str(store.path))
    mounts("-o", "remount,ro,bind", str(store.path))
    assert store.open(SEEDS, who="ann") == SEEDS
    with pytest.raises(StoreError, match="readonly"):
        store.change("chat", "set", at(0), who="ann", why=None)


def test_many_users_and_strange_names_come_back_as_they_were(path: Path) -> None:
    users = tuple(f"user {number} 😀 ' \" \\ \n" for number in range(20_000))
    strange = Rollout(name="Größe'; DROP TABLE rollouts; --", candidate="a/ b", test_users=users, salt="\x00")
    store = SqliteRollouts(path)
    store.open({strange.name: strange}, who="José")
    store.change(strange.name, "add_user", partial(with_user, "one more"), who="José", why="weil's so ist 😀")
    assert SqliteRollouts(path).open({}, who="x")[strange.name].test_users == (*users, "one more")
    store.path.unlink()
    assert store.open({}, who="x")[strange.name].test_users == (*users, "one more")
