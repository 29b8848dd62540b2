"""The facade: one object that answers calls by spec.

Theory. A `Models` holds one snapshot of the config and swaps it whole when something changes: a request sees the state it began
with. A call is resolved (`Resolver`), run (`Run`), and answered with a `Result` that says who answered and why.

Rules. `model`, `explain`, `load_user_config`, `update_provider` and `get_*` are plain functions without network; what talks to
a provider is async (`models.sync` has blocking twins). One `Models` serves several event loops, in turn or at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cached_property, partial
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, Unpack

from msgspec.structs import replace

from podium import config
from podium.catalog.pricing import PriceBook
from podium.engine.account import Account
from podium.engine.around import Around, Shared, State
from podium.engine.aside import MOST_RUNNING, Aside
from podium.engine.attempt import Patience
from podium.engine.books import Books
from podium.engine.forks import register
from podium.engine.language_model import LanguageModel, fresh_id
from podium.engine.rollout.choice import Asker, Choice
from podium.engine.rollout.rollouts import Rollouts
from podium.engine.runner import Run
from podium.engine.slips import load_duration
from podium.engine.stream import TextStream
from podium.engine.sync import SyncModels
from podium.engine.text import Ask, check_caller, load_metadata, load_request
from podium.engine.transport import AiohttpTransport, Transport
from podium.errors import AllTargetsFailed, PodiumError, SpecError, StoreError
from podium.ledger import UsageRow
from podium.observe.observers import Observer
from podium.observe.report import Report
from podium.routing.snapshot import Plan, Snapshot, User
from podium.routing.unknown import unknown_provider
from podium.types import Reasons, Request, Result

if TYPE_CHECKING:
    from podium.engine.compare import Asked
    from podium.engine.rollout.gradual import Gradual, Legacy
    from podium.engine.shadow import Shadows
    from podium.routing.compare import Comparison, JudgeChoice

Called: TypeAlias = tuple[str, str | None, str | None, str | None, float | str | None]
F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_TIMEOUT_S = 600.0
"""The whole request's time where nothing sets one (SCIENCE part 5)."""


class Models:
    """Answers calls by spec; made by `create_models` or `load_models`.

    `async with models:` or `close()` ends it. Thread-safe.
    """

    def __init__(self, snapshot: Snapshot, *, transport: Transport | None = None, patience: Patience | None = None) -> None:
        self._shared = Shared(transport or AiohttpTransport())
        self._patience = patience or Patience()
        self._state = State(snapshot)
        self._books = Books(snapshot, throttled=self._shared.throttled, breakers=lambda: self.rollouts.ramps.hearing.breakers())
        self._swap = threading.Lock()
        self.rollouts = Rollouts(snapshot, check=lambda spec: self._state.resolver.resolve(spec, auto=False))
        """Moves from one spec to another, a few percent of the users at a time, and back at once."""
        self.sync = SyncModels(self)
        """Blocking twins of the async methods, over one background loop."""
        shadows = sum(shadow.max_concurrent for shadow in snapshot.shadows.values())
        self._aside = Aside(self.sync, most_running=MOST_RUNNING + shadows)
        self.rollouts.ramps.judge_with(self)
        self.rollouts.ramps.on_breaker = self._books.metrics.touch
        register(self)

    # --- calls ----------------------------------------------------------------------------------------------------------

    def model(
        self,
        spec: str | None = None,
        *,
        user_id: str | None = None,
        experiment: str | None = None,
        request_id: str | None = None,
        pin: bool = False,
    ) -> LanguageModel:
        """Return a model to be called later; nothing is sent.

        `request_id` defaults to a fresh UUID. Raises `SpecError` for a spec that means nothing.
        """
        check_caller(user_id, experiment, request_id, pin)
        with suppress(AllTargetsFailed):  # a provider may be enabled before the call
            self._plan(self._state, spec, user_id, experiment, pin)
        return LanguageModel(self, spec, user_id=user_id, experiment=experiment, request_id=request_id, pin=pin)

    async def generate_text(
        self,
        spec: str | None = None,
        *,
        user_id: str | None = None,
        experiment: str | None = None,
        request_id: str | None = None,
        pin: bool = False,
        timeout: float | str | None = None,
        **ask: Unpack[Ask],
    ) -> Result:
        """Ask, and wait for the whole answer.

        `timeout` is the whole request's: milliseconds, or `"30s"`. Raises `RequestError` and `SpecError` for a call that is
        wrong, `LimitError` where a limit says no, a `ProviderError` or `AllTargetsFailed` where nobody answers.
        """
        await self._ready(user_id, ask.get("metadata"), spec=spec)
        return await self._run(spec, user_id, experiment, request_id, pin, timeout, ask, stream=False)[0].wait()

    def stream_text(
        self,
        spec: str | None = None,
        *,
        user_id: str | None = None,
        experiment: str | None = None,
        request_id: str | None = None,
        pin: bool = False,
        timeout: float | str | None = None,
        **ask: Unpack[Ask],
    ) -> TextStream:
        """Ask, and return the answer as it comes. Nothing is sent before the stream is first read.

        Raises what `generate_text` raises: what is wrong with the call at once, the rest from the stream.
        """
        run, plan = self._run(spec, user_id, experiment, request_id, pin, timeout, ask, stream=True)
        return TextStream(run, plan.reasons)

    async def compare(
        self,
        *,
        new: Asked,
        old: Asked,
        user_id: str | None = None,
        timeout: float | str | None = None,
        judge: JudgeChoice = "auto",
        answer_pattern: str | None = None,
        fields: Mapping[str, float] | None = None,
        **ask: Unpack[Ask],
    ) -> Comparison:
        """Ask two sides the same at the same time, and say whether their answers are the same and where they differ.

        Each side is a spec, taken as written, a `LanguageModel`, or a function, sync or async, or an object with `generate`,
        that takes the same keywords and gives a text or an object with a `text`. A side that fails is part of the result.
        `judge`, `answer_pattern` and `fields` are those of a consensus. Raises `RequestError` and `SpecError` for a call that
        is wrong.
        """
        from podium.engine.compare import compare

        return await compare(
            self,
            new=new,
            old=old,
            ask=ask,
            user_id=user_id,
            timeout=timeout,
            judge=judge,
            answer_pattern=answer_pattern,
            fields=fields,
        )

    def explain(
        self, spec: str | None = None, *, user_id: str | None = None, experiment: str | None = None, pin: bool = False
    ) -> Reasons:
        """Say what a spec means here and why: the same object as in the result of a call, without a request.

        Raises what the call would raise before anything is sent.
        """
        return self._plan(self._state, spec, user_id, experiment, pin)[0].reasons

    def _plan(
        self,
        state: State,
        spec: str | None,
        user_id: str | None,
        experiment: str | None,
        pin: bool,
        metadata: Mapping[str, Any] | None = None,
        choice: Choice | None = None,
    ) -> tuple[Plan, Choice | None]:
        """Resolve a spec, or that of the arm which a rollout chooses. `metadata` None: nothing is asked, only explained."""
        if choice is None and not pin and self.rollouts.exist:
            asker = self._asker(state, user_id, metadata or {})
            choice = self.rollouts.choose(spec, asker, count=metadata is not None)
        if choice is None:
            return state.resolver.resolve(spec, user_id=user_id, experiment=experiment, pin=pin), None
        arm = choice.spec or spec
        as_is = choice.spec is None and choice.arm == "legacy"  # what the call means without the rollout
        try:
            plan = state.resolver.find(arm, user_id=user_id, experiment=experiment, pin=pin, auto=as_is)
        except PodiumError:
            if metadata is not None:
                self.rollouts.ramps.hearing.take(choice, failed=True)
            raise
        reasons = replace(plan.reasons, spec=spec, steps=(choice.why, *plan.reasons.steps))
        whose = plan.user_id or user_id
        return replace(plan, reasons=reasons, rollout=choice.rollout, arm=choice.arm, user_id=whose), choice

    def _choose_in(self, rollout: str, user_id: str | None, metadata: Mapping[str, Any] | None) -> Choice:
        """Let a rollout choose, and count that."""
        return self.rollouts.choose_in(rollout, self._asker(self._state, user_id, metadata or {}))

    async def _ready(self, user_id: str | None, metadata: Any, *, spec: str | None = None, rollout: str | None = None) -> None:
        """Wait beside the loop for what a rollout's choice needs."""
        await self.rollouts.ready()
        if self.rollouts.deciders:
            check_caller(user_id, None, None, False)
            asker = self._asker(self._state, user_id, load_metadata(metadata or {}))
            await self.rollouts.hear(asker, spec=spec, name=rollout)

    def _asker(self, state: State, user_id: str | None, metadata: Mapping[str, Any]) -> Asker:
        user = state.snapshot.users.get(user_id) if user_id is not None else None
        return Asker(
            user_id=user_id,
            team=metadata.get("team") or (user.team if user is not None else None),
            conversation=metadata.get("conversation"),
            tags=tuple(metadata.get("tags") or ()),
        )

    def _run(
        self,
        spec: str | None,
        user_id: str | None,
        experiment: str | None,
        request_id: str | None,
        pin: bool,
        timeout: float | str | None,
        ask: Mapping[str, Any],
        *,
        stream: bool,
        choice: Choice | None = None,
    ) -> tuple[Run, Plan]:
        check_caller(user_id, experiment, request_id, pin)
        request = load_request(spec or "", ask, stream=stream)
        return self._make_run(request, spec, user_id, experiment, request_id, pin, timeout, choice)

    def _make_run(
        self,
        request: Request,
        spec: str | None,
        user_id: str | None,
        experiment: str | None,
        request_id: str | None,
        pin: bool,
        timeout: float | str | None,
        choice: Choice | None = None,
    ) -> tuple[Run, Plan]:
        state = self._state
        plan, choice = self._plan(state, spec, user_id, experiment, pin, request.metadata, choice)
        request_id = request_id or fresh_id()
        run = Run(
            Around(self._shared, state, plan),
            plan,
            request,
            request_id=request_id,
            time_s=self._time_s(plan, timeout, state.snapshot),
            bounded=timeout is not None or plan.timeout_s is not None,
            patience=self._patience,
            account=Account(
                self._books,
                state.snapshot,
                plan,
                request,
                request_id,
                self._holds(choice),
                self.rollouts.ramps.hearing.hears(choice),
                self._shared.slots_of_user(plan.user_id, state.snapshot),
            ),
            afterwards=self._afterwards(choice, request, (request_id, spec, user_id, experiment, timeout)),
        )
        return run, plan

    def _afterwards(self, choice: Choice | None, request: Request, call: Called) -> Callable[[Run], object] | None:
        """What is done once a governed call was answered: it is shadowed, or judged, or both."""
        if choice is None:
            return None
        shadows, judging = self._shadows_of(choice.rollout), self.rollouts.ramps.judging
        shadow = shadows.after(choice, *call, request) if shadows else None
        judge = judging.after(choice, request) if judging else None
        return (lambda run: (shadow(run), judge(run))) if shadow and judge else shadow or judge

    @cached_property
    def _shadows(self) -> Shadows:
        from podium.engine.shadow import Shadows

        return Shadows(self)

    def _shadows_of(self, rollout: str) -> Shadows | None:
        """What shadows the calls of a rollout; None: its config says nothing of that."""
        return self._shadows if rollout in self.snapshot.shadows else None

    def _holds(self, choice: Choice | None) -> Callable[[], bool] | None:
        """What says before a retry whether a call that took the candidate would still take it."""
        return partial(self.rollouts.still, choice) if choice is not None and choice.arm == "candidate" else None

    @staticmethod
    def _time_s(plan: Plan, timeout: float | str | None, snapshot: Snapshot) -> float:
        """The whole request's time: the call's, else the plan's, else the longest of its providers', else the default."""
        if timeout is not None:
            return load_duration("timeout", timeout)
        if plan.timeout_s is not None:
            return plan.timeout_s
        return max(
            (snapshot.providers[target.provider].timeout_s or DEFAULT_TIMEOUT_S for target in plan.targets),
            default=DEFAULT_TIMEOUT_S,
        )

    # --- moving over ----------------------------------------------------------------------------------------------------

    def gradual(
        self, rollout: str, *, legacy: Legacy | None = None, legacy_names: Mapping[str, str] | None = None, generate: Any = None
    ) -> Gradual:
        """Return the guide's wrapper: one object that answers by the legacy system or by Podium, as the rollout says.

        See `podium.engine.rollout.gradual.Gradual`. Raises `RequestError` for a rollout that there is not.
        """
        from podium.engine.rollout.gradual import Gradual

        return Gradual(self, rollout, legacy=legacy, legacy_names=legacy_names, generate=generate)

    def migrate(self, rollout: str, *, candidate: Any = None, user: str = "user_id") -> Callable[[F], F]:
        """Return a decorator that lets an existing function answer, or the candidate, as the rollout says.

        See `podium.engine.rollout.migration`. Raises `RequestError` for a rollout that there is not.
        """
        from podium.engine.rollout.migration import migration

        return migration(self, rollout, candidate, user)

    # --- money and memory -----------------------------------------------------------------------------------------------

    @property
    def pricing(self) -> PriceBook:
        """All prices: `models.pricing["openai/gpt-4o"].cost(usage)`."""
        return self._books.pricing

    def usage(
        self,
        by: Iterable[str] | str = ("day", "model"),
        *,
        since: Any = None,
        until: Any = None,
        where: Mapping[str, Any] | None = None,
        tz: str = "UTC",
    ) -> list[UsageRow]:
        """Return requests, tokens, cost and errors from the ledger, grouped and summed; see `podium.ledger.usage.usage`.

        It blocks for as long as the store takes. Raises `RequestError` for an unknown grouping, `StoreError` without a ledger.
        """
        ledger = self._books.ledger
        if ledger is None:
            raise StoreError("No record is kept here.", retryable=False, hint="Set `ledger.store` to sqlite or memory.")
        return ledger.usage(by, since=since, until=until, where=where, tz=tz)

    def get_metrics(self) -> Report:
        """Return what this process has measured: per provider, model, tier and experiment."""
        return self._books.metrics.snapshot()

    def observe(self, observer: Observer) -> None:
        """Let an observer (`podium.observe`: OpenTelemetry, a log, one's own) have the records of all further requests."""
        self._books.observe(observer)

    # --- config ---------------------------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """What runs now: providers, tiers, aliases and users, at one version."""
        return self._state.snapshot

    def load_user_config(self, user_id: str, path: str | PathLike[str]) -> User:
        """Load a user's YAML, so that `user:<id>:<experiment>` means something from the next request on.

        Raises `ConfigError` that lists every problem of the file.
        """
        with self._swap:
            snapshot = self._state.snapshot
            user = config.load_user(user_id, path, providers=snapshot.providers, teams=snapshot.teams)
            self._swap_in(config.with_user(snapshot, user))
        return user

    def get_provider_config(self, provider_id: str) -> dict[str, Any]:
        """Return a provider's config as it is now, its secrets masked. Raises `SpecError` for an unknown provider."""
        provider = self.snapshot.providers.get(provider_id)
        if provider is None:
            raise self._unknown_provider(provider_id)
        return config.masked_provider(provider)

    def update_provider(self, provider_id: str, **changes: Any) -> None:
        """Change a provider's settings (`enabled=False`, `timeout="20s"`, ...), from the next request on.

        Requests under way end as they began. Raises `ConfigError` as the config would, and `SpecError` for an unknown provider.
        """
        with self._swap:
            snapshot = self._state.snapshot
            if provider_id not in snapshot.providers:
                raise self._unknown_provider(provider_id)
            changed = config.update_provider(snapshot, provider_id, **changes)
            self._swap_in(changed)
            slots = self._shared.provider_slots.get(provider_id)
        if slots is not None:
            slots.set_limit(changed.providers[provider_id].max_concurrent)

    def _swap_in(self, snapshot: Snapshot) -> None:
        self._state = State(snapshot)
        self._books.swap(snapshot)

    def _unknown_provider(self, provider_id: str) -> SpecError:
        return unknown_provider(self.snapshot, provider_id)

    # --- its end --------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End what still runs in this loop with `ModelsClosed`, and close its connections.

        Background work (`shadow:`) may go on for a few seconds first.
        """
        await asyncio.sleep(0)  # what was answered just now begins its background work first
        await self._aside.close()
        loop = asyncio.get_running_loop()
        for run in [run for run in list(self._shared.runs) if run.here]:
            run.close()
        tasks = [task for task in list(self._shared.tasks) if task.get_loop() is loop]
        if tasks:
            await asyncio.wait(tasks)
        await self._shared.transport.close()
        await asyncio.to_thread(self.rollouts.close)
        await asyncio.to_thread(self._books.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        snapshot = self.snapshot
        return f"Models(providers={list(snapshot.providers)}, tiers={list(snapshot.tiers)}, version={snapshot.version})"

    def statistics(self) -> dict[str, Any]:
        """What runs at this moment (upstream calls, slots), and how ledger and limits fare; for people and dashboards."""
        facts = {**self._shared.statistics(), **self._books.statistics(), "aside": self._aside.statistics()}
        return {**facts, "rollouts": self.rollouts.statistics()} if self.rollouts.exist else facts


def create_models(
    *,
    providers: Mapping[str, Any] | None = None,
    tiers: Mapping[str, Any] | None = None,
    aliases: Mapping[str, str] | None = None,
    users: Any = None,
    default_tier: str | None = None,
    auto_tiers: bool = True,
    track_performance: bool = True,
    track_cost: bool = True,
    **guide: Any,
) -> Models:
    """Make a `Models` from Python values; the guide's camelCase keys are taken too.

    Raises `ConfigError` that lists every problem.
    """
    given = {
        "providers": providers,
        "tiers": tiers,
        "aliases": aliases,
        "users": users,
        "default_tier": default_tier,
        "auto_tiers": None if auto_tiers else False,
        "track_performance": None if track_performance else False,
        "track_cost": None if track_cost else False,
        **guide,
    }
    return Models(
        config.compile_config({name: value for name, value in given.items() if value is not None}, source="create_models")
    )


def load_models(path: str | PathLike[str] = "podium.yaml") -> Models:
    """Make a `Models` from a config file. Raises `ConfigError` that lists every problem of it and of its users' files."""
    return Models(config.compile_config(config.load_config(path)))
