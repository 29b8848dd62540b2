"""Background work of a Models: beside the calls, bounded, counted, and ended with its Models."""

import asyncio
import contextvars
import logging
import os
import threading
from collections.abc import Iterator

import pytest

from podium import Models, create_models
from podium.engine.aside import Aside
from podium.errors import Overloaded
from podium.sim import Sim

CAPITAL = "What is the capital of France?"


@pytest.fixture
def models() -> Iterator[Models]:
    with Sim(seed=7) as sim:
        made = create_models(providers=sim.providers("openai"))
        with made.sync:
            yield made


class Held:
    """Work that says that it runs, and goes on when it may."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.most = 0
        self.ended = 0
        self.begun = threading.Semaphore(0)
        self._free: list[asyncio.Event] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def work(self, name: str) -> None:
        free = asyncio.Event()
        self._free.append(free)
        self._loop = asyncio.get_running_loop()
        self.running.append(name)
        self.most = max(self.most, len(self.running))
        self.begun.release()
        try:
            await free.wait()
            self.ended += 1
        finally:
            self.running.remove(name)

    def wait_begun(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=5)

    def let_go(self) -> None:
        assert self._loop is not None
        for free in self._free:
            self._loop.call_soon_threadsafe(free.set)


def test_work_runs_on_the_loop_of_the_blocking_twins_and_outlives_the_loop_that_began_it(models: Models) -> None:
    held, threads = Held(), []

    async def work() -> None:
        threads.append(threading.current_thread().name)
        await held.work("one")

    async def caller() -> bool:
        return models._aside.begin(work, name="one")

    assert asyncio.run(caller())
    held.wait_begun()
    held.let_go()
    models.sync.close()
    assert threads == ["podium-sync"]
    assert (held.ended, models._aside.statistics()["done"]) == (1, 1)


def test_so_much_runs_at_once_so_much_more_waits_and_the_rest_is_refused_and_counted(models: Models) -> None:
    aside, held = Aside(models.sync, most_running=2, most_waiting=3), Held()
    begun = [aside.begin(held.work, str(number), name="held") for number in range(2)]
    held.wait_begun(2)
    begun += [aside.begin(held.work, str(number), name="held") for number in range(2, 7)]
    assert begun == [True] * 5 + [False] * 2
    assert (aside.statistics()["running"], aside.statistics()["waiting"], aside.statistics()["refused"]) == (2, 3, 2)
    for _ in range(2):
        held.let_go()
        held.wait_begun(1)
    held.wait_begun(1)
    held.let_go()
    asyncio.run(aside.close())
    assert (held.most, held.ended, aside.statistics()["done"]) == (2, 5, 5)


def test_what_raises_is_counted_and_logged_with_the_trace_of_a_defect(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(error: Exception) -> None:
        raise error

    with caplog.at_level(logging.WARNING, "podium.aside"):
        models._aside.begin(broken, ZeroDivisionError("by nought"), name="a sum")
        models._aside.begin(broken, Overloaded("The model is busy."), name="a call")
        models._aside.begin(broken, name="a slip")  # without its argument
        models.sync.close()
    told = {record.getMessage().partition(":")[0]: record.exc_info for record in caplog.records}
    assert models._aside.statistics()["failed"] == 3
    assert told["Background work failed (a sum)"] is not None
    assert told["Background work failed (a call)"] is None
    assert told["Background work failed (a slip)"] is not None


async def test_closing_waits_for_what_runs_and_waits(models: Models) -> None:
    aside, held = Aside(models.sync, most_running=1), Held()
    assert all(aside.begin(held.work, name, name=name) for name in ("one", "two"))
    await asyncio.to_thread(held.wait_begun)
    closing = asyncio.create_task(aside.close())
    for _ in range(2):
        held.let_go()
        if held.ended < 1:
            await asyncio.to_thread(held.wait_begun)
    await closing
    assert (held.ended, aside.statistics()["done"], aside.statistics()["cancelled"]) == (2, 2, 0)


async def test_closing_cancels_and_drops_what_takes_longer_and_says_so(
    models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    aside, held = Aside(models.sync, most_running=1), Held()
    dropped: list[str] = []
    assert aside.begin(held.work, "one", name="one")
    assert aside.begin(held.work, "two", name="two", dropped=lambda: dropped.append("two"))
    await asyncio.to_thread(held.wait_begun)
    with caplog.at_level(logging.WARNING, "podium.aside"):
        await aside.close(wait_s=0.0)
    assert (held.running, held.ended, dropped) == ([], 0, ["two"])
    assert (aside.statistics()["cancelled"], aside.statistics()["dropped"]) == (1, 1)
    assert "1 cancelled, 1 not begun" in caplog.text


def test_after_an_end_work_begins_anew(models: Models) -> None:
    held = Held()
    for _ in range(2):
        assert models._aside.begin(held.work, "again", name="again")
        held.wait_begun()
        held.let_go()
        models.sync.close()
    assert held.ended == 2


def test_it_inherits_no_context_of_its_caller(models: Models) -> None:
    variable = contextvars.ContextVar("variable", default="nothing")
    found: list[str] = []

    async def look() -> None:
        found.append(variable.get())

    variable.set("the caller's")
    models._aside.begin(look, name="look")
    models.sync.close()
    assert found == ["nothing"]


async def test_the_thread_and_the_connections_of_background_work_end_with_their_models() -> None:
    async with Sim(seed=7) as sim:
        models = create_models(providers=sim.providers("openai"))
        answers: list[str] = []

        async def ask() -> None:
            answers.append((await models.generate_text("openai/gpt-4o", prompt=CAPITAL)).text)

        async with models:
            models._aside.begin(ask, name="ask")
        assert answers == ["Paris"]
        assert not any(thread.name == "podium-sync" for thread in threading.enumerate())
        assert all(session.closed for session in models._shared.transport._sessions.values())  # type: ignore[attr-defined]


async def test_an_end_of_background_work_leaves_the_thread_to_a_blocking_call_that_uses_it(models: Models) -> None:
    aside, held = Aside(models.sync), Held()
    blocking = asyncio.create_task(asyncio.to_thread(models.sync._run, held.work("a blocking call")))
    await asyncio.to_thread(held.wait_begun)
    assert aside.begin(asyncio.sleep, 0, name="aside")
    await aside.close()
    assert (held.running, aside.statistics()["done"]) == (["a blocking call"], 1)
    held.let_go()
    await blocking
    assert held.ended == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_after_a_fork_has_none_of_its_parents_work_and_does_its_own(models: Models) -> None:
    held = Held()
    assert models._aside.begin(held.work, "parent's", name="parent's")
    held.wait_begun()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            own = Held()
            empty = models._aside.statistics()["running"] == 0
            begun = models._aside.begin(own.work, "child's", name="child's")
            own.wait_begun()
            own.let_go()
            models.sync.close()
            status = 0 if empty and begun and own.ended == 1 and held.ended == 0 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    held.let_go()
    models.sync.close()
    assert held.ended == 1


def test_statistics_of_a_models_say_how_background_work_fares(models: Models) -> None:
    none = models._aside.statistics()
    assert models.statistics()["aside"] == none
    assert not any(none.values())
