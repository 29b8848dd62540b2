"""A spec bound to its caller, as the guide's code holds it, and the guide's two free functions."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Unpack

from podium.engine.slips import wrong
from podium.engine.stream import TextStream
from podium.engine.text import Ask
from podium.types import Reasons, Result

if TYPE_CHECKING:
    from podium.engine.models import Models


def fresh_id() -> str:
    """Make a request's id: a random UUID (RFC 9562, version 4).

    From `random`, which is seeded by the system and seeded anew after a fork: an id must be unlike others, not a secret.
    """
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


class LanguageModel:
    """A spec bound to its caller: `generate` and `stream` ask it. Made by `Models.model`."""

    __slots__ = ("_asked", "_fixed_id", "experiment", "models", "pin", "request_id", "spec", "user_id")

    def __init__(
        self,
        models: Models,
        spec: str | None,
        *,
        user_id: str | None = None,
        experiment: str | None = None,
        request_id: str | None = None,
        pin: bool = False,
    ) -> None:
        self.models = models
        self.spec = spec
        self.user_id = user_id
        self.experiment = experiment
        self.pin = pin
        self.request_id = request_id or fresh_id()
        """The id of the first call; further calls have fresh ones, unless it was given."""
        self._fixed_id = request_id is not None
        self._asked = False

    def _next_id(self) -> str:
        if self._fixed_id or not self._asked:
            self._asked = True
            return self.request_id
        return fresh_id()

    async def generate(self, *, timeout: float | str | None = None, **ask: Unpack[Ask]) -> Result:
        """Ask, and wait for the whole answer; see `Models.generate_text`."""
        return await self.models.generate_text(
            self.spec,
            user_id=self.user_id,
            experiment=self.experiment,
            request_id=self._next_id(),
            pin=self.pin,
            timeout=timeout,
            **ask,
        )

    def stream(self, *, timeout: float | str | None = None, **ask: Unpack[Ask]) -> TextStream:
        """Ask, and return the answer as it comes; see `Models.stream_text`."""
        return self.models.stream_text(
            self.spec,
            user_id=self.user_id,
            experiment=self.experiment,
            request_id=self._next_id(),
            pin=self.pin,
            timeout=timeout,
            **ask,
        )

    def explain(self) -> Reasons:
        """Say what this model means now and why, without a request."""
        return self.models.explain(self.spec, user_id=self.user_id, experiment=self.experiment, pin=self.pin)

    def __repr__(self) -> str:
        return f"LanguageModel({self.spec!r}, request_id={self.request_id!r})"


async def generate_text(*, model: LanguageModel, timeout: float | str | None = None, **ask: Unpack[Ask]) -> Result:
    """Ask a `LanguageModel`, and wait for the whole answer (the guide's free function)."""
    return await _asked(model).generate(timeout=timeout, **ask)


def stream_text(*, model: LanguageModel, timeout: float | str | None = None, **ask: Unpack[Ask]) -> TextStream:
    """Ask a `LanguageModel`, and return the answer as it comes (the guide's free function)."""
    return _asked(model).stream(timeout=timeout, **ask)


def _asked(model: object) -> LanguageModel:
    if isinstance(model, LanguageModel):
        return model
    raise wrong("model", model, "what `models.model(spec)` returns, or call `models.generate_text(spec, ...)`")
