"""Simulated providers over real HTTP, and what users need for tests of their own.

    async with Sim(models={"gpt-4o-mini": SimModel(latency_s=0.2)}, seed=7) as sim:
        models = create_models(providers=sim.providers("openai", "anthropic"))
        ...
        sim.stats

`Sim` serves OpenAI Chat Completions and Anthropic Messages from Podium's own codecs; `SimModel` says how fast, how reliable and
how right a model is; `facts` are the questions that every simulated model knows the answer to; `serve` runs a sim until
Ctrl-C. Nothing here reaches beyond the machine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.sim.faq import Fact
    from podium.sim.model import SimModel, SimProvider, lifelike
    from podium.sim.sim import Sim, serve
    from podium.sim.stats import Exchange, Stats

    facts: tuple[Fact, ...]

__all__ = ["Exchange", "Fact", "Sim", "SimModel", "SimProvider", "Stats", "facts", "lifelike", "serve"]

_WHERE = {
    "Exchange": ("stats", "Exchange"),
    "Fact": ("faq", "Fact"),
    "Sim": ("sim", "Sim"),
    "SimModel": ("model", "SimModel"),
    "SimProvider": ("model", "SimProvider"),
    "Stats": ("stats", "Stats"),
    "lifelike": ("model", "lifelike"),
    "serve": ("sim", "serve"),
}


def __getattr__(name: str) -> Any:
    if name == "facts":
        from podium.sim.answers import known_questions

        return known_questions()
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(import_module(f"podium.sim.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
