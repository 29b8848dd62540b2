"""`podium sim`: simulated providers on a port of this machine, for trying things out and for tests."""

from __future__ import annotations

import json
import re
import signal
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import console
from podium.errors import RequestError

if TYPE_CHECKING:
    from podium.sim import Sim, Stats

DEFAULT_PORT = 8642

_FAULTS: dict[str, dict[str, Any]] = {
    "hang": {"hang": True},
    "stall": {"stall_after": 5},
    "break": {"break_after": 5},
    "malformed": {"malformed_after": 5},
    "error": {"error_after": 5},
    "wrong-json": {"wrong_json": True},
    "empty": {"empty": True},
    "refuse": {"refuse": True},
}
_NAMED_FAULTS = ", ".join(_FAULTS)
_FAULT = re.compile(r"(?P<name>[a-z-]+|[45]\d\d)(?:@(?P<rate>\d+(?:\.\d+)?|\.\d+))?")
_DRAW_S = 0.25


def sim(
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="N", min=0, max=65535, help="Port on 127.0.0.1; 0 takes any free one.")
    ] = DEFAULT_PORT,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Decides all that chance does: the same seed, the same run.")
    ] = 0,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME=SETTING=VALUE,...",
            help="How a model behaves (latency_s, latency_sigma, tokens_per_s, failure_rate, accuracy, answer, ...). "
            "NAME may be a model, provider/model, or a glob. May be repeated.",
            show_default=False,
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="NAME=FAULT[@RATE]",
            help=f"What goes wrong: an error status (429, 503, ...), {_NAMED_FAULTS}; @0.2 for a fifth of the requests. "
            "May be repeated.",
            show_default=False,
        ),
    ] = None,
    lifelike: Annotated[bool, typer.Option("--lifelike", help="Answer as slowly as real models do, not at once.")] = False,
) -> None:
    """Serve simulated providers until Ctrl-C: OpenAI Chat and Anthropic Messages over real HTTP.

    Any key is accepted. Answers depend on prompt and model alone, and known questions get the right one.

    [bold]Examples[/bold]

      podium sim

      podium sim --lifelike --fault 'openai/*=503@0.3'

      podium sim --model gpt-4o=latency_s=2,tokens_per_s=30 --fault groq/*=hang
    """
    from podium.sim import Sim

    served = Sim(seed=seed, port=port)
    if lifelike:
        _make_lifelike(served)
    for setting in model or ():
        _set_model(served, setting)
    for setting in fault or ():
        _set_fault(served, setting)
    stats = _serve(served)
    _show_counts(stats)


def _make_lifelike(served: Sim) -> None:
    from podium.sim import lifelike
    from podium.sim.model import PROVIDERS

    for name, provider in PROVIDERS.items():
        for model in provider.models:
            served.set(f"{name}/{model}", lifelike(model))


def _set_model(served: Sim, written: str) -> None:
    name, _, settings = written.partition("=")
    if not name or not settings:
        raise RequestError(f"--model is {written!r}.", param="model", hint="Write NAME=SETTING=VALUE, as gpt-4o=latency_s=0.5.")
    changes: dict[str, Any] = {}
    for setting in settings.split(","):
        key, equals, value = setting.partition("=")
        if not equals:
            raise RequestError(
                f"--model {written!r} says {setting!r}, which sets nothing.",
                param="model",
                hint="Write SETTING=VALUE, as latency_s=0.5.",
            )
        changes[key.strip()] = _value(value.strip())
    _change(served, name, changes)


def _change(served: Sim, name: str, changes: dict[str, Any]) -> None:
    """Change a model's settings as if they came from JSON, so that a wrong kind of value is told like a wrong value."""
    from podium.sim.model import load_models

    base = served.model(name)
    fields = dict.fromkeys(base.__struct_fields__)
    unknown = {key: value for key, value in changes.items() if key not in fields}
    if unknown:
        base.changed(**unknown)  # says which settings there are
    served.set(name, load_models({name: {**base.to_dict(), **changes}})[name])


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _set_fault(served: Sim, written: str) -> None:
    name, equals, kind = written.rpartition("=")
    match = _FAULT.fullmatch(kind)
    if not equals or not name or match is None or (not match["name"].isdigit() and match["name"] not in _FAULTS):
        raise RequestError(
            f"--fault is {written!r}.",
            param="fault",
            hint=f"Write NAME=FAULT, as gpt-4o=503; faults: an error status, {_NAMED_FAULTS}; @0.2 strikes one in five.",
        )
    what, rate = match["name"], float(match["rate"] or 1)
    if what == "429":
        _change(served, name, {"throttle_rate": rate})
    elif what.isdigit():
        _change(served, name, {"failure_rate": rate, "failure_status": int(what)})
    else:
        _change(served, name, {**_FAULTS[what], "fault_rate": rate})


def _serve(served: Sim) -> Stats:
    """Serve until Ctrl-C or a SIGTERM, with the counts on a terminal."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    status = None
    try:
        with served:
            console.write_out(_welcome(served))
            if console.is_terminal("err"):
                status = console.console("err").status("")
                status.start()
            waiting = threading.Event()
            while not waiting.wait(_DRAW_S):
                if status is not None:
                    status.update(_counts(served.stats))
    except KeyboardInterrupt:
        pass  # this is how it ends
    finally:
        if status is not None:
            status.stop()
        signal.signal(signal.SIGTERM, before)
    return served.stats


def _welcome(served: Sim) -> str:
    openai, anthropic = served.base_url("openai"), served.base_url("anthropic")
    from podium.sim.model import PROVIDERS

    rows = [f"  {name:<11} {served.base_url(name):<40} {', '.join(provider.models)}" for name, provider in PROVIDERS.items()]
    return "\n".join(
        [
            f"Simulated providers at {served.url} (Ctrl-C ends them):",
            "",
            *rows,
            "",
            "OpenAI SDK:     " + f'OpenAI(base_url="{openai}", api_key="any")',
            "Anthropic SDK:  " + f'Anthropic(base_url="{anthropic}", api_key="any")',
            "podium.yaml:    " + f'providers: {{openai: {{base_url: "{openai}", api_key: any}}}}',
            "curl:           "
            + f"curl {openai}/chat/completions -H 'authorization: Bearer any' -H 'content-type: application/json' \\",
            "                  "
            + """-d '{"model": "gpt-4o", "messages": [{"role": "user", "content": "What is the capital of Mongolia?"}]}'""",
            "",
            "",
        ]
    )


def _counts(stats: Stats) -> str:
    return (
        f"{console.plural(stats.requests, 'request')}: {stats.in_flight} running, {stats.finished} finished, "
        f"{stats.refused} refused, {stats.cancelled} cancelled by the client, {stats.broken} broken on purpose; "
        f"{console.plural(stats.tokens, 'token')} sent"
    )


def _show_counts(stats: Stats) -> None:
    console.write_out(f"\nServed {_counts(stats)}.\n")
    for name, count in sorted(stats.by_model.items(), key=lambda item: -item[1]):
        console.write_out(f"  {count:>6,}  {name}\n")
