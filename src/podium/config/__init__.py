"""Configs: from files and dicts to the snapshot that runs, or to one error that lists every fault.

The public names are loaded when first used, since the models behind them take a while to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.config.changes import update_provider as update_provider
    from podium.config.changes import with_user as with_user
    from podium.config.check import check_files as check_files
    from podium.config.compile import Config as Config
    from podium.config.compile import compile_config as compile_config
    from podium.config.compile import compile_with_warnings as compile_with_warnings
    from podium.config.compile import load_config as load_config
    from podium.config.initial import starter as starter
    from podium.config.problems import Problem as Problem
    from podium.config.providers import masked_provider as masked_provider
    from podium.config.schema import json_schema as json_schema
    from podium.config.users import load_user as load_user

_HOMES = {
    "Config": "compile",
    "Problem": "problems",
    "check_files": "check",
    "compile_config": "compile",
    "compile_with_warnings": "compile",
    "json_schema": "schema",
    "load_config": "compile",
    "load_user": "users",
    "masked_provider": "providers",
    "starter": "initial",
    "update_provider": "changes",
    "with_user": "changes",
}

__all__ = [
    "Config",
    "Problem",
    "check_files",
    "compile_config",
    "compile_with_warnings",
    "json_schema",
    "load_config",
    "load_user",
    "masked_provider",
    "starter",
    "update_provider",
    "with_user",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
