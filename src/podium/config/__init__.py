"""Configs: from files and dicts to the snapshot that runs, or to one error that lists every fault."""

from podium.config.changes import update_provider, with_user
from podium.config.check import check_files
from podium.config.compile import Config, compile_config, compile_with_warnings, load_config
from podium.config.initial import starter
from podium.config.problems import Problem
from podium.config.providers import masked_provider
from podium.config.schema import json_schema
from podium.config.users import load_user

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
