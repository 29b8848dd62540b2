"""`Sim`: simulated providers on a port of one's own, for tests, demonstrations and `podium sim`.

Theory. A sim is a server with its settings and its counts. In an `async with` it runs on the caller's loop; in a plain `with`
it runs on a thread of its own. Settings may be changed at any time and hold from the next request on.

Rules.
- A port of 0, the default, takes any free one. Only loopback is served unless another host is asked for.
- The counts stay readable after the end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Self

from aiohttp import web

from podium.errors import ConfigError
from podium.sim.model import SimModel, SimProvider, load_models, load_providers, provider_named
from podium.sim.server import Server, Settings
from podium.sim.stats import Book, Exchange, Stats


class Sim:
    """Serve simulated providers over real HTTP.

    `models` gives settings by model name, by `provider/model`, or by a glob of either (`groq/*`); any other model behaves as
    `default`. `providers` are names, or names with a `SimProvider`; the usual five unless given, and any other name is served
    as well. `seed` decides everything that chance does; a sim with the same seed and the same requests does the same. `keep`
    is how many of the last requests, with their bodies, `sim.requests` holds. Raises `ConfigError` for wrong settings.

    In pytest, on the test's loop::

        @pytest.fixture
        async def sim():
            async with Sim(models={"gpt-4o-mini": SimModel(latency_s=0.05)}, seed=7) as sim:
                yield sim

        async def test_a_slow_provider_is_overtaken(sim):
            models = create_models(providers=sim.providers("openai", "groq"), ...)
            sim.set("openai/*", latency_s=5)
            ...
            assert sim.stats.cancelled == 1
            assert sim.requests[-1].body["model"] == "gpt-4o-mini"

    and for blocking code, on a thread of its own, `with Sim() as sim:` does the same.
    """

    def __init__(
        self,
        *,
        models: Mapping[str, SimModel | Mapping[str, Any]] | None = None,
        providers: Mapping[str, SimProvider | Mapping[str, Any] | None] | Iterable[str] | None = None,
        default: SimModel | None = None,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        keep: int = 1000,
    ) -> None:
        if not 0 <= port <= 65_535:
            raise ConfigError(
                f"A sim cannot listen on port {port}.", hint="Give a port from 1 to 65535, or 0 for any free one."
            )
        declared = dict(providers) if isinstance(providers, Mapping) else providers
        self._settings = Settings(
            models=load_models(dict(models or {})),
            providers=load_providers(declared),
            default=default or SimModel(),
            seed=seed,
        )
        self._book = Book(keep)
        self._server = Server(self._settings, self._book)
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self._thread: _Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- Beginning and end -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to serve on the running loop. Raises `ConfigError` where the port is taken."""
        if self._runner is not None:
            raise ConfigError("This sim is already running.", hint="Use one `async with` or `with` for each Sim.")
        self._server.stopping = False
        self._runner = web.AppRunner(
            self._server.app(), handler_cancellation=True, access_log=None, handle_signals=False, shutdown_timeout=0.05
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port, backlog=4096).start()
        except OSError as error:
            await self._runner.cleanup()
            self._runner = None
            raise ConfigError(
                f"The simulated providers cannot listen on {self._host}:{self._port}: {error.strerror}.",
                hint="Choose another port, or 0 for any free one.",
            ) from None
        self._port = self._runner.addresses[0][1]
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Stop serving; what still runs is counted as stopped."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self._server.stopping = True
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        self._thread = _Thread(self)
        self._thread.begin()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._thread is not None:
            self._thread.end()
            self._thread = None

    # --- Where it is -------------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port that it listens on, once it runs."""
        return self._port

    @property
    def url(self) -> str:
        """The server's own address, as `http://127.0.0.1:8642`."""
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}"

    def base_url(self, provider: str = "openai") -> str:
        """Return the `base_url` of a provider, as its config takes it: with `/v1` for OpenAI Chat, without for Anthropic.

        The official SDKs take the same values.
        """
        dialects = provider_named(provider, self._settings.providers).dialects
        return f"{self.url}/{provider}" + ("" if dialects[0] == "anthropic" else "/v1")

    def providers(self, *names: str) -> dict[str, dict[str, Any]]:
        """Return a `providers` argument for `create_models` that leads here: for the named providers, or for all declared."""
        return {name: {"base_url": self.base_url(name), "api_key": f"sim-{name}"} for name in names or self._settings.providers}

    # --- What it does ------------------------------------------------------------------------------------------------

    def model(self, name: str, provider: str = "") -> SimModel:
        """Return how a model behaves now; `name` is as the requests say it, or `provider/model`."""
        if not provider and "/" in name and name.split("/", 1)[0] in self._settings.providers:
            provider, name = name.split("/", 1)
        return self._settings.model(provider, name)

    def set(self, name: str, settings: SimModel | None = None, /, **changes: Any) -> SimModel:
        """Change how a model (or `provider/model`, or a glob) behaves, from the next request on, and return it.

        `settings` replaces all; `changes` change some of what was set under the same name, or holds for that model otherwise.
        Raises `ConfigError` for an unknown or wrong setting.
        """
        base = settings or self._settings.models.get(name) or self.model(name)
        changed = base.changed(**changes)
        self._settings.models = {**self._settings.models, name: changed}
        return changed

    def unset(self, name: str) -> None:
        """Take back what was set under a name."""
        self._settings.models = {key: value for key, value in self._settings.models.items() if key != name}

    def set_provider(self, name: str, **changes: Any) -> SimProvider:
        """Change how a provider behaves, from the next request on, and return it."""
        current = self._settings.providers.get(name) or SimProvider()
        unknown = sorted(set(changes) - set(SimProvider.__struct_fields__))
        if unknown:
            raise ConfigError(
                f"A SimProvider has no setting {', '.join(unknown)}.",
                hint=f"It has {', '.join(SimProvider.__struct_fields__)}.",
            )
        changed = current.replace(**changes)
        self._settings.providers = {**self._settings.providers, name: changed}
        return changed

    # --- What it counted ---------------------------------------------------------------------------------------------

    @property
    def stats(self) -> Stats:
        """The counts of this instant."""
        return self._book.stats()

    @property
    def requests(self) -> tuple[Exchange, ...]:
        """The last requests, oldest first, with their bodies and how they ended."""
        return tuple(self._book.last)

    def reset(self) -> None:
        """Forget all counts and requests, and how often each prompt was asked, so that a run repeats."""
        if self._thread is None or self._loop is None:
            self._server.reset()
            return
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._server.reset)
        self._loop.call_soon_threadsafe(done.set)
        done.wait()

    async def idle(self, timeout: float = 5.0) -> Stats:
        """Wait until no request is running, and return the counts. Raises `TimeoutError`."""
        here = asyncio.get_running_loop()
        done = asyncio.Event()
        self._when_idle(lambda: here.call_soon_threadsafe(done.set))
        async with asyncio.timeout(timeout):
            await done.wait()
        return self.stats

    def wait_idle(self, timeout: float = 5.0) -> Stats:
        """Block until no request is running, and return the counts; for a sim on its own thread. Raises `TimeoutError`."""
        done = threading.Event()
        self._when_idle(done.set)
        if not done.wait(timeout):
            raise TimeoutError(f"After {timeout:g} s the sim still serves {self.stats.in_flight} requests.")
        return self.stats

    def _when_idle(self, call: Callable[[], object]) -> None:
        if self._runner is None or self._loop is None:
            call()
        else:
            self._loop.call_soon_threadsafe(self._book.when_idle, call)


class _Thread:
    """Runs a sim on a loop and thread of its own."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim
        self._begun = threading.Event()
        self._failure: ConfigError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._enough: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="podium-sim", daemon=True)

    def begin(self) -> None:
        """Start the thread, and return once the sim listens."""
        self._thread.start()
        self._begun.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def end(self) -> None:
        """Stop the sim and wait for the thread's end."""
        if self._loop is not None and self._enough is not None:
            self._loop.call_soon_threadsafe(self._enough.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._enough = asyncio.get_running_loop(), asyncio.Event()
        try:
            await self._sim.start()
        except ConfigError as error:
            self._failure = error
            return
        finally:
            self._begun.set()
        try:
            await self._enough.wait()
        finally:
            await self._sim.stop()


def serve(sim: Sim, *, ready: Callable[[Sim], None] | None = None, until: threading.Event | None = None) -> Stats:
    """Run a sim until Ctrl-C (or until `until` is set from another thread), and return its counts.

    `ready` is called once, when it listens. Raises `ConfigError` where the port is taken.
    """
    with sim:
        if ready is not None:
            ready(sim)
        # Ctrl-C is how this ends, and no error.
        with suppress(KeyboardInterrupt):
            (until or threading.Event()).wait()
    return sim.stats
