"""The blocking twins: the same answers, from plain code, threads and forks."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from podium import Models, create_models
from podium.errors import PodiumError, RequestError
from podium.sim import Sim
from podium.types import Finished, Started

CAPITAL = "What is the capital of France?"


@pytest.fixture
def sim() -> Iterator[Sim]:
    with Sim(seed=7) as running:
        yield running


@pytest.fixture
def models(sim: Sim) -> Iterator[Models]:
    made = create_models(providers=sim.providers("openai", "anthropic"))
    with made.sync:
        yield made


def test_a_blocking_call_gives_a_result(models: Models) -> None:
    assert models.sync.generate_text("openai/gpt-4o", prompt=CAPITAL).text == "Paris"
    assert models.sync.generate(models.model("openai/gpt-4o"), prompt=CAPITAL).text == "Paris"


def test_a_blocking_stream_gives_text_events_and_a_result(models: Models) -> None:
    with models.sync.stream_text("openai/gpt-4o", prompt=CAPITAL) as stream:
        assert "".join(stream.text) == "Paris"
        assert stream.result().text == "Paris"
    events = list(models.sync.stream(models.model("anthropic/claude-haiku-4-5"), prompt=CAPITAL))
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)


def test_a_break_out_of_a_blocking_stream_ends_it_upstream(models: Models, sim: Sim) -> None:
    sim.set("gpt-4o", tokens_per_s=50.0, length=500)
    for _ in models.sync.stream_text("openai/gpt-4o", prompt="Tell me about ships.").text:
        break
    assert sim.wait_idle(timeout=2).streams_cancelled == 1


def test_threads_share_one_background_loop(models: Models) -> None:
    answers: list[str] = []

    def ask() -> None:
        answers.append(models.sync.generate_text("openai/gpt-4o", prompt=CAPITAL).text)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["Paris"] * 8
    assert sum(thread.name == "podium-sync" for thread in threading.enumerate()) == 1


async def test_it_says_so_where_it_would_block_a_running_loop(models: Models) -> None:
    with pytest.raises(RequestError, match=r"await models\.generate_text"):
        models.sync.generate_text("openai/gpt-4o", prompt=CAPITAL)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_after_a_fork_has_a_background_of_its_own(models: Models) -> None:
    assert models.sync.generate_text("openai/gpt-4o", prompt=CAPITAL).text == "Paris"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if models.sync.generate_text("openai/gpt-4o", prompt=CAPITAL).text == "Paris" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_after_a_fork_begins_with_free_slots_and_locks_that_nobody_holds(models: Models, sim: Sim) -> None:
    models.update_provider("openai", max_concurrent=1)
    sim.set("gpt-4.1", hang=True)
    hanging = threading.Thread(target=lambda: list(models.sync.stream_text("openai/gpt-4.1", prompt=CAPITAL)), daemon=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading, "excepthook", lambda _: None)  # the stream ends with its Models
        hanging.start()
        while not models.statistics()["calls"]:
            time.sleep(0.005)
        with models._swap, models.sync._lock:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    models.update_provider("anthropic", enabled=False)
                    status = 0 if models.sync.generate_text("openai/gpt-4o", prompt=CAPITAL).text == "Paris" else 2
                finally:
                    os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        models.sync.close()
        hanging.join(2)
        assert not hanging.is_alive()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_waits_for_the_step_of_the_loop_that_runs_so_that_a_child_finds_no_lock_of_its_locked(models: Models) -> None:
    """Such as that of a module that is imported just then."""
    lock, locked, may_go_on = threading.Lock(), threading.Event(), threading.Event()

    async def step() -> None:
        with lock:
            locked.set()
            may_go_on.wait(1)

    running = threading.Thread(target=lambda: models.sync._run(step()))
    running.start()
    assert locked.wait(5)
    threading.Timer(0.1, may_go_on.set).start()
    child = os.fork()
    if child == 0:
        os._exit(0 if lock.acquire(timeout=1) else 2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    running.join()


def test_errors_come_through_as_they_are(models: Models, sim: Sim) -> None:
    sim.set("gpt-4o", status=400)
    with pytest.raises(PodiumError) as caught:
        models.sync.generate_text("openai/gpt-4o", prompt=CAPITAL)
    assert caught.value.code == "provider_invalid_request"


def test_closing_ends_the_thread_and_a_later_call_begins_anew(models: Models) -> None:
    models.sync.generate_text("openai/gpt-4o", prompt=CAPITAL)
    models.sync.close()
    assert not any(thread.name == "podium-sync" for thread in threading.enumerate())
    assert models.sync.generate_text("openai/gpt-4o", prompt=CAPITAL).text == "Paris"
