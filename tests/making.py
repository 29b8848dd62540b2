"""The type of the fixture `make`, which makes a `Models` that knows a sim."""

from __future__ import annotations

from collections.abc import Callable

from podium import Models

Make = Callable[..., Models]
"""Takes what `create_models` takes; `providers` are merged into the sim's."""
