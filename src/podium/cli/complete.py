"""Tab completion: the names that a config in this folder gives.

Theory. A shell waits for each completion, so the file is read as plain YAML: no validation, no provider table, no client.

Rules. Completing never fails and never prints: a file that is missing, broken or strange gives no names.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

_TOO_LARGE = 1_000_000


def specs(context: typer.Context, incomplete: str) -> list[str]:
    """Complete a spec: tiers, aliases, users with their experiments, and the targets that the config names."""
    config, folder = _config(context)
    names = [f"tier:{name}" for name in _mapping(config, "tiers")]
    names += [str(name) for name in _mapping(config, "aliases")]
    for user, experiments in _users(config, folder).items():
        names += [f"user:{user}", *(f"user:{user}:{experiment}" for experiment in experiments)]
    names += _targets(config)
    names += [f"{provider}/" for provider in _mapping(config, "providers")]
    return _fitting(names, incomplete)


def users(context: typer.Context, incomplete: str) -> list[str]:
    """Complete a user's id."""
    return _fitting(_users(*_config(context)), incomplete)


def experiments(context: typer.Context, incomplete: str) -> list[str]:
    """Complete an experiment's name: the user's, where one is given, else everybody's."""
    given = context.params.get("user")
    known = _users(*_config(context))
    found = known.get(given, []) if isinstance(given, str) else [each for names in known.values() for each in names]
    return _fitting(found, incomplete)


def rollouts(context: typer.Context, incomplete: str) -> list[str]:
    """Complete a rollout's name."""
    return _fitting(_mapping(_config(context)[0], "rollouts"), incomplete)


def one_of(*names: str) -> Callable[[str], list[str]]:
    """Return what completes one of some names that never change."""
    return lambda incomplete: _fitting(names, incomplete)


def some_of(*names: str) -> Callable[[str], list[str]]:
    """Return what completes the last of several names with commas between them."""

    def complete(incomplete: str) -> list[str]:
        given, comma, last = incomplete.rpartition(",")
        said = given.split(",")
        return [f"{given}{comma}{name}" for name in _fitting(names, last) if name not in said]

    return complete


def _fitting(names: Any, incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _config(context: typer.Context) -> tuple[dict[str, Any], Path]:
    around = context.find_root().params
    given = context.params.get("config") or around.get("config") or os.environ.get("PODIUM_CONFIG") or "podium.yaml"
    path = Path(str(given))
    return _read(path), path.parent


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        if not path.is_file() or path.stat().st_size > _TOO_LARGE:
            return {}
        plain = yaml.load(path.read_text("utf-8-sig"), Loader=yaml.BaseLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}  # nothing to complete is the right answer to a file that cannot be read
    return plain if isinstance(plain, dict) else {}


def _mapping(plain: Any, key: str) -> dict[str, Any]:
    value = plain.get(key) if isinstance(plain, dict) else None
    return {str(name): item for name, item in value.items()} if isinstance(value, dict) else {}


def _users(config: dict[str, Any], folder: Path) -> dict[str, list[str]]:
    """The users of a config, and the experiments of each."""
    written = config.get("users")
    files: dict[str, Path] = {}
    if isinstance(written, str):
        try:
            files = {path.stem: path for path in sorted(folder.glob(written))}
        except (ValueError, NotImplementedError, OSError):
            files = {}  # a glob that is none, or an absolute one
    else:
        files = {user: folder / path for user, path in _mapping(config, "users").items() if isinstance(path, str)}
    found: dict[str, list[str]] = {}
    for user, path in files.items():
        plain = _read(path)
        own = plain.get("user_id") or plain.get("userId")
        found[own if isinstance(own, str) else user] = list(_mapping(plain, "experiments"))
    return found


def _targets(config: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for tier in _mapping(config, "tiers").values():
        models = tier.get("models") if isinstance(tier, dict) else None
        for model in models if isinstance(models, list) else ():
            if isinstance(model, str):
                found.append(model)
            elif isinstance(model, dict) and "provider" in model and "model" in model:
                found.append(f"{model['provider']}/{model['model']}")
    return found
