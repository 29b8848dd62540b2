"""The config that `podium init` writes."""

from __future__ import annotations

from importlib import resources


def starter() -> str:
    """Return the commented starter config as YAML text."""
    return resources.files("podium.config").joinpath("starter.yaml").read_text("utf-8")
