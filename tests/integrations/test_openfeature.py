"""OpenFeature's own SDK decides rollouts, and asks them: real clients, real providers, real calls over HTTP."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import ProviderStatus
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from podium import Models, RequestError, create_models
from podium.integrations.openfeature import PodiumProvider, decide_by_flag
from podium.routing.rollout import bucket
from podium.sim import Sim
from waiting import wait_until

PROMPT = "What is the capital of France?"
ROLLOUT = {"match": ["gpt-4"], "legacy": "openai/gpt-4o", "candidate": "anthropic/claude-sonnet-4-5"}

Start = Callable[..., Models]


@pytest.fixture
async def sim() -> AsyncIterator[Sim]:
    async with Sim(seed=7) as running:
        yield running


@pytest.fixture
async def start(sim: Sim) -> AsyncIterator[Start]:
    made: list[Models] = []

    def one(data_dir: Path | None = None, **rollout: Any) -> Models:
        config: dict[str, Any] = {} if data_dir is None else {"data_dir": str(data_dir)}
        made.append(create_models(providers=sim.providers(), rollouts={"chat": {**ROLLOUT, **rollout}}, **config))
        return made[-1]

    yield one
    for models in made:
        await models.close()


@pytest.fixture(autouse=True)
def fresh_api() -> Iterator[None]:
    yield
    api.shutdown()


class Flags(InMemoryProvider):
    """Flags that a test changes, fails or holds up."""

    def __init__(self, value: Any, **by_user: Any) -> None:
        self.value, self.by_user = value, by_user
        self.asked: list[EvaluationContext] = []
        self.threads: set[str] = set()
        self.error: Exception | None = None
        self.goes_on = threading.Event()
        self.goes_on.set()
        flag = InMemoryFlag("now", {"now": value}, context_evaluator=self._evaluate)
        super().__init__({"chat-arm": flag})

    def _evaluate(self, flag: InMemoryFlag[Any], context: EvaluationContext) -> FlagResolutionDetails[Any]:
        self.asked.append(context)
        self.threads.add(threading.current_thread().name)
        assert self.goes_on.wait(30)
        if self.error is not None:
            raise self.error
        return FlagResolutionDetails(self.by_user.get(context.targeting_key or "", self.value), reason=Reason.TARGETING_MATCH)

    def change(self, value: Any) -> None:
        self.value = value
        self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=["chat-arm"]))


def client_of(flags: InMemoryProvider, domain: str = "flags") -> OpenFeatureClient:
    api.set_provider_and_wait(flags, domain)
    return api.get_client(domain)


async def asked(models: Models, user_id: str | None = "jane", **ask: Any) -> str:
    """The provider that answers, by the target."""
    result = await models.generate_text("gpt-4", prompt=PROMPT, user_id=user_id, **ask)
    return result.target.provider


def remove_store(folder: Path) -> None:
    for path in folder.glob("rollouts.sqlite3*"):
        path.unlink()


# --- a flag decides a rollout -------------------------------------------------------------------------------------------


async def test_a_text_flag_decides_the_arm_of_each_user(start: Start) -> None:
    models = start(percent=0)
    decide_by_flag(models, "chat", client_of(Flags("legacy", jane="candidate")), "chat-arm")
    assert [await asked(models, user) for user in ("jane", "joe", None)] == ["anthropic", "openai", "openai"]
    reasons = (await models.generate_text("gpt-4", prompt=PROMPT, user_id="jane")).reasons
    assert reasons.steps[0] == "Rollout `chat` chose the candidate arm: flag `chat-arm` says candidate."


async def test_a_flags_own_words_are_translated(start: Start) -> None:
    models = start(percent=0)
    client = client_of(Flags("control", jane="treatment"))
    decide_by_flag(models, "chat", client, "chat-arm", arms={"control": "legacy", "treatment": "candidate"})
    assert [await asked(models, user) for user in ("jane", "joe")] == ["anthropic", "openai"]


@pytest.mark.parametrize("percent", [30.0, 30])
async def test_a_number_flag_is_the_percentage_that_a_users_bucket_is_held_against(start: Start, percent: float) -> None:
    models = start(percent=0)
    decide_by_flag(models, "chat", client_of(Flags(percent)), "chat-arm", gives="percent")
    users = [f"user-{number}" for number in range(40)]
    answered = [await asked(models, user) for user in users]
    assert answered == ["anthropic" if bucket("chat", user) < 3000 else "openai" for user in users]
    assert set(answered) == {"anthropic", "openai"}


@pytest.mark.parametrize(("value", "provider"), [(True, "anthropic"), (False, "openai")])
async def test_a_boolean_flag_switches_between_the_arms(start: Start, value: bool, provider: str) -> None:
    models = start(percent=50)
    decide_by_flag(models, "chat", client_of(Flags(value)), "chat-arm", gives="switch")
    assert {await asked(models, f"user-{number}") for number in range(10)} == {provider}


async def test_the_context_has_user_team_conversation_and_tags(start: Start) -> None:
    models, flags = start(), Flags("legacy")
    decide_by_flag(models, "chat", client_of(flags), "chat-arm")
    await asked(models, metadata={"team": "search", "conversation": "c-1", "tags": ["batch"]})
    assert flags.asked == [
        EvaluationContext("jane", {"user_id": "jane", "team": "search", "conversation": "c-1", "tags": ["batch"]})
    ]


async def test_the_kill_switch_and_the_test_users_stand_above_a_flag(start: Start) -> None:
    models = start(percent=0, test_users=["researcher-1"])
    decide_by_flag(models, "chat", client_of(Flags("legacy", jane="candidate")), "chat-arm")
    assert await asked(models, "researcher-1") == "anthropic"
    models.rollouts.disable("chat")
    assert [await asked(models, user) for user in ("jane", "researcher-1")] == ["openai", "openai"]


async def test_a_change_that_the_provider_announces_is_followed_though_the_answer_was_fresh(start: Start) -> None:
    models, flags = start(percent=0), Flags("candidate")
    decide_by_flag(models, "chat", client_of(flags), "chat-arm", fresh_for="1h")
    assert await asked(models) == "anthropic"
    flags.change("legacy")
    async with asyncio.timeout(5):
        while await asked(models) != "openai":
            pass


@pytest.mark.parametrize("changed", [None, [], ["chat-arm"]])
async def test_a_change_that_names_no_flag_may_be_one_of_any(start: Start, changed: list[str] | None) -> None:
    models, flags = start(percent=0), Flags("candidate")
    decide_by_flag(models, "chat", client_of(flags), "chat-arm", fresh_for="1h")
    assert await asked(models) == "anthropic"
    flags.value = "legacy"
    flags.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=["another"]))
    flags.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=changed))
    async with asyncio.timeout(5):
        while await asked(models) != "openai":
            pass
    assert len(flags.asked) == 2


async def test_a_provider_that_comes_later_is_asked_though_the_answer_was_fresh(start: Start) -> None:
    models = start(percent=0)
    decide_by_flag(models, "chat", api.get_client("later"), "chat-arm", fresh_for="1h")
    assert await asked(models) == "openai"
    client_of(Flags("candidate"), "later")
    async with asyncio.timeout(5):
        while await asked(models) != "anthropic":
            pass


async def test_a_user_is_not_asked_about_again_while_the_answer_is_fresh(start: Start) -> None:
    models, flags = start(percent=0), Flags("candidate")
    decide_by_flag(models, "chat", client_of(flags), "chat-arm", fresh_for="1h")
    assert [await asked(models) for _ in range(5)] == ["anthropic"] * 5
    assert len(flags.asked) == 1


async def test_the_client_is_asked_in_threads_and_never_on_the_loop(start: Start) -> None:
    models, flags = start(percent=0), Flags("candidate")
    decide_by_flag(models, "chat", client_of(flags), "chat-arm")
    await asked(models)
    gradual = models.gradual("chat")
    await gradual.generate_text("gpt-4", prompt=PROMPT, user_id="joe")
    assert len(flags.asked) == 2
    assert flags.threads == {"podium-deciders"}


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(lambda: client_of(InMemoryProvider({})), id="the flag is not found"),
        pytest.param(lambda: client_of(Flags(7)), id="the flag is no text"),
        pytest.param(lambda: client_of(Flags("blue")), id="the text is no arm"),
    ],
)
async def test_a_flag_that_says_nothing_leaves_it_to_the_rollout_and_is_told_of_once(
    start: Start, client: Callable[[], OpenFeatureClient], caplog: pytest.LogCaptureFixture
) -> None:
    models = start(percent=100)
    decide_by_flag(models, "chat", client(), "chat-arm", fresh_for="1h")
    assert [await asked(models, user) for user in ("jane", "joe", "ann")] == ["anthropic"] * 3
    facts = models.statistics()["rollouts"]["deciders"]["chat"]
    assert (facts["asked"], facts["failed"], facts["whose"]) == (3, 3, "flag `chat-arm`")
    told = [record.getMessage() for record in caplog.records if record.name == "podium.rollouts"]
    assert len(told) == 1
    assert told[0].startswith("flag `chat-arm`, which decides the rollout chat, failed: ")


@pytest.mark.parametrize("gives", ["arm", "percent", "switch"])
async def test_a_client_without_a_provider_decides_nothing(start: Start, gives: Any) -> None:
    models = start(percent=100)
    decide_by_flag(models, "chat", api.get_client("nobody"), "chat-arm", gives=gives)
    assert await asked(models) == "anthropic"
    assert models.statistics()["rollouts"]["deciders"]["chat"]["failed"] == 0


async def test_a_provider_that_fails_and_recovers_is_told_of(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    models, flags = start(percent=0), Flags("candidate")
    flags.error = OSError("sk-secret")
    deciding = decide_by_flag(models, "chat", client_of(flags), "chat-arm", fresh_for="1h")
    with caplog.at_level(logging.WARNING, "podium.rollouts"):
        assert await asked(models) == "openai"
        flags.error = None
        deciding.refresh()
        async with asyncio.timeout(5):
            while await asked(models) != "anthropic":
                pass
    told = [record.getMessage() for record in caplog.records if record.name == "podium.rollouts"]
    assert [("failed" in each, "answers again" in each) for each in told] == [(True, False), (False, True)]


async def test_a_flag_that_hangs_is_waited_for_once_and_then_the_rollout_decides(start: Start) -> None:
    models, flags = start(percent=0), Flags("candidate")
    flags.goes_on.clear()
    decide_by_flag(models, "chat", client_of(flags), "chat-arm", wait="100ms")
    assert [await asked(models, f"user-{number}") for number in range(20)] == ["openai"] * 20
    facts = models.statistics()["rollouts"]["deciders"]["chat"]
    assert facts["late"] == 1
    flags.goes_on.set()
    async with asyncio.timeout(5):
        while await asked(models) != "anthropic":
            pass


async def test_a_stream_that_is_made_inside_a_loop_takes_the_last_answer_and_asks_for_the_next(start: Start) -> None:
    models, flags = start(percent=0), Flags("candidate")
    decide_by_flag(models, "chat", client_of(flags), "chat-arm", fresh_for="1h")
    arms: list[str] = []
    async with asyncio.timeout(5):
        while not arms or arms[-1] != "anthropic":
            async with models.stream_text("gpt-4", prompt=PROMPT, user_id="jane") as stream:
                arms.append((await stream.result()).target.provider)
    assert arms == ["openai"] * (len(arms) - 1) + ["anthropic"]


def test_blocking_calls_wait_for_the_flag() -> None:
    with Sim(seed=7) as sim:
        models = create_models(providers=sim.providers(), rollouts={"chat": {**ROLLOUT, "percent": 0}})
        decide_by_flag(models, "chat", client_of(Flags("candidate")), "chat-arm")

        @models.migrate("chat")
        def answer(prompt: str, user_id: str) -> str:
            return "of old"

        with models.sync:
            assert models.sync.generate_text("gpt-4", prompt=PROMPT, user_id="jane").target.provider == "anthropic"
            with models.sync.stream_text("gpt-4", prompt=PROMPT, user_id="joe") as stream:
                assert stream.result().target.provider == "anthropic"
            assert answer(PROMPT, user_id="ann") == "Paris"


async def test_a_retry_of_a_call_is_not_made_once_its_flag_says_legacy(sim: Sim, start: Start) -> None:
    models, flags = start(percent=0), Flags("candidate")
    decide_by_flag(models, "chat", client_of(flags), "chat-arm", fresh_for="1h")
    rollouts = models.rollouts
    assert await asked(models) == "anthropic"
    made = rollouts.choose("gpt-4", models._asker(models._state, "jane", {}))
    assert made is not None
    assert rollouts.still(made)
    flags.change("legacy")
    await asyncio.to_thread(wait_until, lambda: not rollouts.still(made))


async def test_a_rollout_decides_itself_again_when_it_is_told_to(start: Start) -> None:
    models = start(percent=0)
    decide_by_flag(models, "chat", client_of(Flags("candidate")), "chat-arm")
    assert await asked(models) == "anthropic"
    models.rollouts.decide_itself("chat")
    assert await asked(models) == "openai"


async def test_a_plain_function_may_decide_too(start: Start) -> None:
    models = start(percent=0)
    models.rollouts.decide_by("chat", lambda asker: asker.user_id == "jane", whose="the desk")
    assert [await asked(models, user) for user in ("jane", "joe")] == ["anthropic", "openai"]


async def test_what_cannot_decide_is_refused_at_once(start: Start) -> None:
    models = start()
    with pytest.raises(RequestError, match="no rollout `chta`"):
        models.rollouts.decide_by("chta", lambda asker: None)
    with pytest.raises(RequestError, match="`fresh_for`"):
        models.rollouts.decide_by("chat", lambda asker: None, fresh_for="soon")
    with pytest.raises(RequestError, match="`gives` is 'text'"):
        decide_by_flag(models, "chat", api.get_client(), "chat-arm", gives="text")  # type: ignore[arg-type]


async def test_a_rollout_with_a_ramp_is_left_to_its_guard(start: Start) -> None:
    models = start(ramp={}, guard={})
    with pytest.raises(RequestError, match="has a ramp or a guard"):
        models.rollouts.decide_by("chat", lambda asker: "candidate")


# --- rollouts are flags -------------------------------------------------------------------------------------------------


def flags_of(models: Models) -> OpenFeatureClient:
    api.set_provider_and_wait(PodiumProvider(models), "podium")
    return api.get_client("podium")


async def test_a_rollout_is_a_boolean_a_text_and_a_number(start: Start) -> None:
    client = flags_of(start(percent=30, test_users=["researcher-1"]))
    for user in ("researcher-1", *(f"user-{number}" for number in range(30))):
        context = EvaluationContext(user)
        takes = user == "researcher-1" or bucket("chat", user) < 3000
        assert client.get_boolean_value("chat", not takes, context) is takes
        assert client.get_string_value("chat", "", context) == ("candidate" if takes else "legacy")
        assert await client.get_boolean_value_async("chat", not takes, context) is takes
    assert client.get_float_value("chat", -1.0) == 30.0
    assert client.get_integer_value("chat", -1) == 30
    whole: Any = client.get_object_value("chat", {}, EvaluationContext("researcher-1"))
    assert (whole["arm"], whole["spec"], whole["percent"]) == ("candidate", "anthropic/claude-sonnet-4-5", 30.0)


async def test_reasons_variants_and_metadata_say_how_it_was_decided(start: Start) -> None:
    rules = [{"team": "search", "arm": "candidate"}, {"tag": "batch", "arm": "legacy"}]
    models = start(percent=30, test_users=["researcher-1"], rules=rules)
    client = flags_of(models)

    def reason(user: str | None, **attributes: Any) -> tuple[Any, Any]:
        details = client.get_boolean_details("chat", False, EvaluationContext(user, attributes))
        return details.reason, details.variant

    assert reason("researcher-1") == (Reason.TARGETING_MATCH, "candidate")
    assert reason("user-1", team="search") == (Reason.TARGETING_MATCH, "candidate")
    assert reason("user-1", tags=["batch"]) == (Reason.TARGETING_MATCH, "legacy")
    assert reason("user-1")[0] == Reason.SPLIT
    assert reason(None) == (Reason.DEFAULT, "legacy")
    details = client.get_float_details("chat", 0.0)
    assert (details.reason, details.variant) == (Reason.STATIC, "set")
    metadata = client.get_string_details("chat", "", EvaluationContext("researcher-1")).flag_metadata
    assert metadata["why"] == "Rollout `chat` chose the candidate arm: researcher-1 is a test user."
    assert (metadata["rollout"], metadata["percent"], metadata["enabled"]) == ("chat", 30.0, True)
    models.rollouts.disable("chat")
    assert reason("researcher-1") == (Reason.DISABLED, "legacy")
    assert client.get_float_details("chat", 1.0).value == 0.0


async def test_what_cannot_be_answered_gives_the_default_and_a_code(start: Start) -> None:
    models = start(percent=12.5)
    client = flags_of(models)
    missing = client.get_boolean_details("chta", True)
    assert (missing.value, missing.error_code, missing.reason) == (True, ErrorCode.FLAG_NOT_FOUND, Reason.ERROR)
    assert "Did you mean `chat`?" in str(missing.error_message)
    assert client.get_float_details("chta", 7.0).error_code is ErrorCode.FLAG_NOT_FOUND
    broken = client.get_integer_details("chat", 7)
    assert (broken.value, broken.error_code) == (7, ErrorCode.TYPE_MISMATCH)
    bad = client.get_string_details("chat", "x", EvaluationContext("jane", {"tags": "batch"}))
    assert (bad.value, bad.error_code) == ("x", ErrorCode.INVALID_CONTEXT)


async def test_an_evaluation_is_not_counted_as_a_call(start: Start) -> None:
    models = start(percent=100)
    client = flags_of(models)
    assert client.get_boolean_value("chat", False, EvaluationContext("jane"))
    usage = models.rollouts.usage("chat")
    assert (usage.legacy, usage.candidate) == (0, 0)


class Heard:
    """Events of a provider, as they come."""

    def __init__(self) -> None:
        self.events: list[tuple[ProviderEvent, EventDetails]] = []
        self._come = threading.Event()

    def listen(self, client: OpenFeatureClient, *events: ProviderEvent) -> None:
        for event in events:
            client.add_handler(event, lambda details, event=event: self._take(event, details))  # type: ignore[misc]

    def _take(self, event: ProviderEvent, details: EventDetails) -> None:
        self.events.append((event, details))
        self._come.set()

    async def next(self) -> tuple[ProviderEvent, EventDetails]:
        assert await asyncio.to_thread(self._come.wait, 10)
        self._come.clear()
        return self.events.pop(0)


@pytest.mark.parametrize("shared", [False, True])
async def test_a_change_of_a_rollout_is_announced(start: Start, tmp_path: Path, shared: bool) -> None:
    models = start(tmp_path if shared else None)
    client, heard = flags_of(models), Heard()
    heard.listen(client, ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    changer = start(tmp_path) if shared else models  # of the same process or of another one: the store tells
    await asyncio.to_thread(changer.rollouts.set, "chat", percent=40)
    _, details = await heard.next()
    assert (details.provider_name, details.flags_changed) == ("Podium", ["chat"])
    assert client.get_float_value("chat", 0.0) == 40.0


async def test_a_lost_store_is_stale_and_one_that_answers_again_is_ready(start: Start, tmp_path: Path) -> None:
    models = start(tmp_path, percent=100)
    client, heard = flags_of(models), Heard()
    heard.listen(client, ProviderEvent.PROVIDER_STALE)
    remove_store(tmp_path)
    event, details = await heard.next()
    assert event is ProviderEvent.PROVIDER_STALE
    assert "rollouts.sqlite3" in str(details.message)
    assert client.get_provider_status() is ProviderStatus.STALE
    stale = client.get_boolean_details("chat", False, EvaluationContext("jane"))
    assert (stale.value, stale.reason, stale.variant) == (True, Reason.STALE, "candidate")
    heard.listen(client, ProviderEvent.PROVIDER_READY)
    await asyncio.to_thread(models.rollouts.set, "chat", percent=50)
    assert (await heard.next())[0] is ProviderEvent.PROVIDER_READY
    assert client.get_provider_status() is ProviderStatus.READY


async def test_a_rollout_that_is_decided_by_itself_as_a_flag_makes_no_circle(start: Start) -> None:
    models = start(percent=100)
    decide_by_flag(models, "chat", flags_of(models), "chat", wait="100ms")
    assert await asked(models) == "anthropic"
    assert models.statistics()["rollouts"]["deciders"]["chat"]["late"] == 0


async def test_a_provider_that_is_replaced_listens_no_more(start: Start) -> None:
    models = start()
    flags_of(models)
    assert len(models.rollouts.listeners) == 1
    api.set_provider_and_wait(InMemoryProvider({}), "podium")
    await asyncio.to_thread(
        wait_until, lambda: len(models.rollouts.listeners) == 0
    )  # the SDK shuts it down in a thread of its own
