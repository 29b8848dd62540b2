"""The guide's wrapper and the decorator: either side answers, each in its own way, and nothing else changes for a caller."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from making import Make
from podium import LanguageModel, LimitError, Models, RequestError, Result, create_models, generate_text
from podium.engine.rollout.gradual import Gradual
from podium.errors import AllTargetsFailed, SpecError
from podium.routing.rollout import bucket
from podium.sim import Sim

CAPITAL = "What is the capital of France?"
HIGH = {"strategy": "fallback", "models": ["anthropic/claude-haiku-4-5", "groq/llama-3.1-8b"], "auto": False}
CHAT: dict[str, Any] = {"match": ["openai/gpt-4o", "tier:high"], "candidate": "tier:high", "test_users": ["ann"]}
INSIDE = next(user for user in map("user-{}".format, range(100)) if bucket("chat", user) < 1000)


class OldModel:
    """A model of the legacy system's."""

    def __init__(self, name: str) -> None:
        self.name = name

    def generate(self, prompt: str, **more: Any) -> str:
        return f"{self.name} of old: {prompt} {sorted(more)}"


class OldAsyncModel(OldModel):
    async def generate(self, prompt: str, **more: Any) -> str:  # type: ignore[override]
        return super().generate(prompt, **more)


async def make_old(name: str) -> OldAsyncModel:
    return OldAsyncModel(name)


@pytest.fixture
def models(make: Make) -> Models:
    return make(tiers={"high": HIGH}, rollouts={"chat": CHAT})


# --- models --------------------------------------------------------------------------------------------------------------


async def test_model_returns_either_sides_model(models: Models) -> None:
    gradual = models.gradual("chat", legacy=OldModel)
    old, new = gradual.model("openai/gpt-4o"), gradual.model("openai/gpt-4o", user_id="ann")
    assert (type(old), old.name) == (OldModel, "gpt-4o")
    assert isinstance(new, LanguageModel)
    result = await new.generate(prompt=CAPITAL)
    assert (result.text, str(result.target)) == ("Paris", "anthropic/claude-haiku-4-5")
    assert result.reasons.steps[0] == "Rollout `chat` chose the candidate arm: ann is a test user."
    assert (await generate_text(model=new, prompt=CAPITAL)).text == "Paris"
    async with new.stream(prompt=CAPITAL) as stream:
        assert "".join([text async for text in stream.text]) == "Paris"


async def test_what_an_async_function_makes_is_awaitable_and_get_model_is_right_for_both(models: Models) -> None:
    gradual = models.gradual("chat", legacy=make_old)
    waiting = gradual.model("openai/gpt-4o")
    assert inspect.isawaitable(waiting)
    assert (await waiting).name == "gpt-4o"
    assert (await gradual.get_model("openai/gpt-4o")).name == "gpt-4o"
    assert isinstance(await gradual.get_model("openai/gpt-4o", user_id="ann"), LanguageModel)
    assert (await models.gradual("chat", legacy=OldModel).get_model("openai/gpt-4o")).name == "gpt-4o"


async def test_the_legacy_side_has_its_own_names(models: Models) -> None:
    gradual = models.gradual("chat", legacy=OldModel, legacy_names={"tier:high": "gpt-4o", "openai/gpt-4": "gpt-4-0613"})
    written = ["tier:high", "openai/gpt-4", "openai/gpt-4o", "openrouter/google/gemini-2.0-flash", "gpt-4", "openai/"]
    expected = ["gpt-4o", "gpt-4-0613", "gpt-4o", "google/gemini-2.0-flash", "gpt-4", "openai"]
    assert [gradual.model(spec).name for spec in written] == expected


@pytest.mark.parametrize("spec", ["tier:high", "user:jane:mine"])
@pytest.mark.parametrize("user", [None, "ann"])
async def test_a_spec_without_a_name_there_is_an_error_whichever_arm_is_chosen(
    models: Models, spec: str, user: str | None
) -> None:
    """Otherwise ten percent of the users would find out."""
    gradual = models.gradual("chat", legacy=OldModel)
    with pytest.raises(RequestError) as caught:
        gradual.model(spec, user_id=user)
    assert f"The legacy system has no name for `{spec}`" in str(caught.value)
    assert f'legacy_names={{"{spec}": "gpt-4o"}}' in str(caught.value)
    with pytest.raises(RequestError, match="no name"):
        await gradual.generate_text(spec, prompt=CAPITAL, user_id=user)


async def test_the_candidate_is_the_rollouts_where_match_has_the_spec_and_else_what_was_asked_for(make: Make) -> None:
    models = make(tiers={"high": HIGH}, rollouts={"chat": CHAT, "all": {"candidate": "tier:high", "test_users": ["ann"]}})
    named, every = models.gradual("chat", legacy=OldModel), models.gradual("all", legacy=OldModel)

    def targets(gradual: Gradual, spec: str) -> list[str]:
        return [str(target) for target in gradual.model(spec, user_id="ann").explain().targets]

    assert targets(named, "openai/gpt-4o") == HIGH["models"]
    assert targets(named, "openai/gpt-4") == ["openai/gpt-4"]
    assert targets(every, "openai/gpt-4") == HIGH["models"], "a rollout that names no specs is for all that name it"


async def test_a_legacy_side_may_be_a_spec_given_or_the_rollouts_own(make: Make) -> None:
    models = make(tiers={"high": HIGH}, rollouts={"chat": {**CHAT, "legacy": "openai/gpt-4o-mini"}})
    own, given = models.gradual("chat"), models.gradual("chat", legacy="groq/llama-3.1-8b")
    assert [str(target) for target in own.model("openai/gpt-4o").explain().targets] == ["openai/gpt-4o-mini"]
    result = await given.generate_text("tier:high", prompt=CAPITAL)
    assert (result.text, str(result.target)) == ("Paris", "groq/llama-3.1-8b")
    assert "legacy arm" in result.reasons.steps[0]


async def test_a_rollback_reaches_models_that_were_made_before_it(make: Make) -> None:
    models = make(tiers={"high": HIGH}, rollouts={"chat": {**CHAT, "legacy": "openai/gpt-4o-mini"}})
    by_spec = models.gradual("chat").model("openai/gpt-4o", user_id="ann")
    by_function = models.gradual("chat", legacy=OldModel).model("openai/gpt-4o", user_id="ann")
    assert str((await by_spec.generate(prompt=CAPITAL)).target) == "anthropic/claude-haiku-4-5"
    models.rollouts.disable("chat")
    assert str((await by_spec.generate(prompt=CAPITAL)).target) == "openai/gpt-4o-mini"
    assert "switched off" in by_spec.explain().steps[0]
    for ask in (by_function.generate, by_function.stream):
        with pytest.raises(LimitError, match=r"Make a model for each request") as caught:
            await ask(prompt=CAPITAL)
        assert caught.value.code == "rolled_back"
    models.rollouts.enable("chat")
    assert (await by_function.generate(prompt=CAPITAL)).text == "Paris"


async def test_a_bad_spec_is_told_when_the_model_is_made(models: Models) -> None:
    gradual = models.gradual("chat", legacy=OldModel)
    with pytest.raises(SpecError, match="There is no provider"):
        gradual.model("opnai/gpt-4", user_id="ann")
    models.update_provider("openai", enabled=False)
    with pytest.raises(AllTargetsFailed, match="disabled"):
        gradual.model("openai/gpt-4", user_id="ann")
    assert gradual.model("openai/gpt-4").name == "gpt-4"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"user_id": 7}, "`user_id`"),
        ({"experiment": 7}, "`experiment`"),
        ({"metadata": "search"}, "`metadata`"),
        ({"metadata": {"tags": "batch"}}, "`metadata.tags`"),
        ({"metadata": {"team": 3}}, "`metadata.team`"),
    ],
)
async def test_a_caller_that_is_none_is_told(models: Models, wrong: dict[str, Any], words: str) -> None:
    gradual = models.gradual("chat", legacy=OldModel)
    with pytest.raises(RequestError, match=words):
        gradual.model("openai/gpt-4o", **wrong)
    with pytest.raises(RequestError, match=words):
        await gradual.get_model("openai/gpt-4o", **wrong)
    with pytest.raises(RequestError, match="needs a spec"):
        gradual.model("")


async def test_a_wrapper_that_cannot_work_is_told_when_it_is_made(models: Models) -> None:
    with pytest.raises(RequestError, match=r"There is no rollout `chta`. Did you mean `chat`\?"):
        models.gradual("chta", legacy=OldModel)
    with pytest.raises(RequestError, match=r"Rollout `chat` has no legacy side\. Give `legacy=`"):
        models.gradual("chat")
    with pytest.raises(RequestError, match="neither a function nor a spec"):
        models.gradual("chat", legacy=3)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="There is no provider"):
        models.gradual("chat", legacy="opnai/gpt-4o")


async def test_what_the_legacy_side_raises_reaches_the_caller_as_it_is(models: Models) -> None:
    error = KeyError("of old")

    def broken(name: str) -> OldModel:
        raise error

    gradual = models.gradual("chat", legacy=broken)
    for answer in (gradual.get_model("openai/gpt-4o"), gradual.generate_text("openai/gpt-4o", prompt="x")):
        with pytest.raises(KeyError) as caught:
            await answer
        assert caught.value is error


# --- generate_text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [OldModel, OldAsyncModel, make_old, partial(OldModel)])
async def test_generate_text_asks_either_side(models: Models, legacy: Any) -> None:
    gradual = models.gradual("chat", legacy=legacy)
    ask: dict[str, Any] = {"prompt": "hi", "temperature": 0.5, "metadata": {"team": "search"}, "timeout": "30s"}
    assert await gradual.generate_text("openai/gpt-4o", **ask) == "gpt-4o of old: hi ['temperature']"
    result = await gradual.generate_text("openai/gpt-4o", user_id="ann", **ask)
    assert isinstance(result, Result)
    assert result.metadata["team"] == "search"


async def test_a_legacy_model_may_be_asked_by_a_function(models: Models) -> None:
    def ask(*, model: str, prompt: str) -> str:
        return f"{model}: {prompt}"

    async def ask_later(*, model: str, prompt: str) -> str:
        return ask(model=model, prompt=prompt)

    for generate in (ask, ask_later):
        gradual = models.gradual("chat", legacy=lambda name: f"<{name}>", generate=generate)
        assert await gradual.generate_text("openai/gpt-4o", prompt="hi") == "<gpt-4o>: hi"


async def test_a_legacy_model_that_cannot_be_asked_says_how_to_say_it(models: Models) -> None:
    gradual = models.gradual("chat", legacy=lambda name: name)
    with pytest.raises(RequestError) as caught:
        await gradual.generate_text("openai/gpt-4o", prompt="hi")
    assert "is a str, which has no method `generate`" in str(caught.value)
    assert "generate=your_function" in str(caught.value)


async def test_usage_is_what_models_and_calls_really_took(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    gradual = models.gradual("chat", legacy=OldModel)
    for user in (None, None, None, "ann"):
        gradual.model("openai/gpt-4o", user_id=user)
    with caplog.at_level(logging.INFO, "podium.rollouts"):
        assert gradual.usage_percent() == 25.0
    assert caplog.messages == ["Orchestrator usage: 25.0% of 4 calls in 24h (rollout chat is set to 0%)"]


# --- the decorator -------------------------------------------------------------------------------------------------------


async def test_migrate_moves_an_async_function_over(models: Models) -> None:
    @models.migrate("chat")
    async def answer(prompt: str, user_id: str | None = None) -> str:
        """Answer."""
        return f"of old: {prompt}"

    assert await answer(CAPITAL) == f"of old: {CAPITAL}"
    assert await answer(CAPITAL, user_id="ann") == "Paris"
    assert await answer(prompt=CAPITAL, user_id="ann") == "Paris"
    assert (answer.__name__, answer.__doc__) == ("answer", "Answer.")
    assert inspect.iscoroutinefunction(answer)
    assert models.rollouts.usage("chat").candidate == 2


def test_migrate_moves_a_blocking_function_over_wherever_it_is_called() -> None:
    """Inside a running loop it blocks it, as it did before."""
    with Sim(seed=7) as sim:
        models = create_models(providers=sim.providers("openai"), rollouts={"chat": {**CHAT, "candidate": "openai/gpt-4o"}})

        @models.migrate("chat")
        def answer(prompt: str, user_id: str | None = None) -> str:
            return f"of old: {prompt}"

        async def inside() -> list[str]:
            return [answer(CAPITAL), answer(CAPITAL, user_id="ann")]

        with models.sync:
            assert [answer(CAPITAL), answer(CAPITAL, user_id="ann")] == [f"of old: {CAPITAL}", "Paris"]
            assert asyncio.run(inside()) == [f"of old: {CAPITAL}", "Paris"]


async def test_a_candidate_may_be_a_function_or_another_spec(models: Models) -> None:
    async def new(question: str, *, who: str, style: str = "plain") -> tuple[str, str]:
        return f"new: {question}", style

    @models.migrate("chat", candidate=new, user="who")
    async def answer(question: str, *, who: str, style: str = "plain") -> tuple[str, str]:
        return f"of old: {question}", style

    assert await answer("hi", who="bob", style="rich") == ("of old: hi", "rich")
    assert await answer("hi", who="ann", style="rich") == ("new: hi", "rich")

    @models.migrate("chat", candidate="groq/llama-3.1-8b")
    async def other(prompt: str, user_id: str, max_tokens: int | None = None) -> str:
        return "of old"

    assert await other(CAPITAL, "ann") == "Paris"


async def test_a_function_that_takes_anything_is_looked_into(models: Models) -> None:
    def new(*given: Any, **named: Any) -> tuple[str, Any, Any]:
        return "new", given, named

    @models.migrate("chat", candidate=new)
    def answer(*given: Any, **named: Any) -> tuple[str, Any, Any]:
        return "of old", given, named

    assert answer(1, x=2) == ("of old", (1,), {"x": 2})
    assert answer(1, user_id="ann") == ("new", (1,), {"user_id": "ann"})
    assert answer(user_id="bob", metadata=object())[0] == "of old"


@pytest.mark.parametrize("user", [UUID(int=7), 7, "7"])
async def test_who_asks_may_be_text_a_number_or_a_uuid(models: Models, user: Any) -> None:
    models.rollouts.add_user("chat", str(user))

    @models.migrate("chat", candidate=lambda user_id: "new")
    def answer(user_id: Any) -> str:
        return "of old"

    assert answer(user) == "new"


async def test_who_is_no_id_takes_legacy_and_that_is_logged_once(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    """The words of such an object may differ from process to process, and so would the arm."""
    models.rollouts.set("chat", percent=100)

    @models.migrate("chat", candidate=lambda user_id: "new")
    def answer(user_id: object) -> str:
        return "of old"

    assert [answer(object()), answer(True), answer(None), answer("bob")] == ["of old", "of old", "of old", "new"]
    (message,) = caplog.messages
    assert "was called with a object as `user_id`, which is no id: rollout chat draws nothing for it" in message
    assert "text, a number or a UUID" in message


async def test_metadata_that_means_something_else_to_the_function_does_no_harm(make: Make) -> None:
    models = make(rollouts={"chat": {"candidate": "openai/gpt-4o", "rules": [{"team": "search", "arm": "candidate"}]}})

    @models.migrate("chat", candidate=lambda metadata=None, user_id=None: "new")
    def answer(metadata: Any = None, user_id: str | None = None) -> str:
        return "of old"

    found = [answer(metadata) for metadata in ({"team": "search"}, {"team": 3}, "team", ["team"], {"tags": "search"}, 7)]
    assert found == ["new", *["of old"] * 5]


async def test_wrong_arguments_are_the_functions_own_error(models: Models) -> None:
    @models.migrate("chat")
    async def answer(prompt: str, user_id: str | None = None) -> str:
        return prompt

    with pytest.raises(TypeError, match=r"answer\(\) missing 1 required positional argument: 'prompt'"):
        await answer()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'promt'"):
        await answer(promt="hi")  # type: ignore[call-arg]


async def test_a_decorator_that_cannot_work_is_told_when_it_is_put_on(models: Models) -> None:
    def no_user(prompt: str) -> str:
        return prompt

    def no_prompt(question: str, user_id: str) -> str:
        return question

    def blocking(prompt: str, user_id: str) -> str:
        return prompt

    async def waiting(prompt: str, user_id: str) -> str:
        return prompt

    def pieces(prompt: str, user_id: str) -> Iterator[str]:
        yield prompt

    async def later_pieces(prompt: str, user_id: str) -> AsyncIterator[str]:
        yield prompt

    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (no_user, {}, r"no_user` has no argument `user_id`.* Say which it is: `models.migrate\(\"chat\", user="),
        (no_prompt, {}, r"no_prompt` takes `question`, `user_id`, which is not what `generate_text` is asked with"),
        (blocking, {"candidate": waiting}, "waiting` is async and .*blocking`, which it is to stand in for, is not"),
        (pieces, {}, "gives its answer piece by piece"),
        (later_pieces, {}, "gives its answer piece by piece"),
        (blocking, {"candidate": "tier:hihg"}, "Did you mean `high`"),
        (blocking, {"candidate": 3}, "`candidate` is neither a function nor a spec"),
    ]
    for function, how, words in wrong:
        with pytest.raises(RequestError, match=words):
            models.migrate("chat", **how)(function)
    with pytest.raises(RequestError, match="There is no rollout `zzz`"):
        models.migrate("zzz")


async def test_a_rollout_without_a_candidate_needs_one_here(make: Make) -> None:
    models = make(rollouts={"chat": None})
    with pytest.raises(RequestError, match=r"Rollout `chat` has no candidate\. Give `candidate=`"):
        models.migrate("chat")


async def test_functions_that_give_pieces_have_a_candidate_that_gives_pieces(models: Models) -> None:
    async def new(user_id: str) -> AsyncIterator[str]:
        yield "new"

    @models.migrate("chat", candidate=new)
    async def answer(user_id: str) -> AsyncIterator[str]:
        yield "of old"

    assert [[piece async for piece in answer(user)] for user in ("ann", "bob")] == [["new"], ["of old"]]


async def test_a_drawn_user_keeps_their_side_at_every_call_site(models: Models) -> None:
    models.rollouts.set("chat", percent=10)
    gradual = models.gradual("chat", legacy=OldModel)

    @models.migrate("chat")
    async def answer(prompt: str, user_id: str | None = None) -> str:
        return "of old"

    for _ in range(3):
        assert isinstance(gradual.model("openai/gpt-4o", user_id=INSIDE), LanguageModel)
        assert await answer(CAPITAL, user_id=INSIDE) == "Paris"
