"""From a config to the snapshot that runs.

Theory. A config is a file or a dict; both become a document, and a document becomes a `Snapshot` or one `ConfigError` with
every fault. Each part is compiled on its own and the references between them are checked at the end, so that one fault hides
no other.

Rules. Order is kept: the first declared provider and tier win where a name could mean several.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from podium.config.aliases import check_aliases, read_aliases
from podium.config.document import Document, plain, read_document
from podium.config.environment import Environment, hide_secrets
from podium.config.problems import Findings, Problem, choices, kind_of, show, suggestion
from podium.config.providers import check_name, compile_provider
from podium.config.records import compile_ledger, compile_prices, find_data_dir, find_pricing_cache
from podium.config.rollouts import check_rollouts, compile_rollouts
from podium.config.routes import compile_tier, duplicate_of
from podium.config.sections import ConfigSection, HeadSection, ProviderSection, TierSection
from podium.config.shape import Reader
from podium.config.teams import Known, compile_teams
from podium.config.users import compile_users
from podium.errors import ConfigError
from podium.routing.snapshot import Provider, Snapshot, Tier, User

_HEAD = tuple(HeadSection.model_fields)


class Config:
    """A config file as it was read: its values, and the line of each."""

    __slots__ = ("document",)

    def __init__(self, document: Document) -> None:
        self.document = document

    @property
    def source(self) -> str | None:
        """The file that it came from."""
        return self.document.file

    def __repr__(self) -> str:
        return f"Config(source={self.source!r})"


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read a config file, without judging what it says.

    Raises `ConfigError` where the file is missing, or is no YAML.
    """
    findings = Findings()
    document = read_document(path, findings)
    findings.raise_errors("The config")
    if document is None:
        raise ConfigError(f"The config {os.fspath(path)} cannot be read.")
    return Config(document)


def compile_config(
    config: Config | Mapping[str, Any],
    *,
    source: str | None = None,
    env: Mapping[str, str] | None = None,
    base_dir: str | os.PathLike[str] = ".",
) -> Snapshot:
    """Compile a config into a snapshot.

    `config` is a `Config` from `load_config`, or a dict in the same form, its keys in snake_case or camelCase. `source` names a
    dict in messages, `base_dir` is what its user files are relative to, `env` stands in for the environment.
    Raises one `ConfigError` that lists every problem.
    """
    return compile_with_warnings(config, source=source, env=env, base_dir=base_dir)[0]


def compile_with_warnings(
    config: Config | Mapping[str, Any],
    *,
    source: str | None = None,
    env: Mapping[str, str] | None = None,
    base_dir: str | os.PathLike[str] = ".",
) -> tuple[Snapshot, tuple[Problem, ...]]:
    """Compile like `compile_config`, and return the warnings too."""
    findings = Findings()
    if isinstance(config, Config):
        document = config.document
    else:
        document = Document(None, file=source, directory=base_dir)
        document.data = plain(config, document, findings)
    snapshot = compile_document(document, findings, os.environ if env is None else env)
    findings.raise_errors("The config")
    return snapshot, findings.warnings


def compile_document(document: Document, findings: Findings, values: Mapping[str, str]) -> Snapshot:
    """Compile a document as far as it goes; faults are noted."""
    findings.meet(document.file)
    return _Compilation(document, findings, values).snapshot()


class _Compilation:
    """One document on its way to a snapshot."""

    def __init__(self, document: Document, findings: Findings, values: Mapping[str, str]) -> None:
        self._values = values
        hide_secrets(document.data, findings)
        self._environment = Environment(values, document, findings)
        self._data = self._environment.expand(document.data)
        hide_secrets(self._data, findings)
        self._reader = Reader(document, findings, self._environment.broken)

    def snapshot(self) -> Snapshot:
        reader = self._reader
        if not isinstance(self._data, dict):
            reader.note((), f"a config must be a mapping, not {kind_of(self._data)}.", "Begin with `providers:`.")
            return Snapshot()
        kept = reader.keys(ConfigSection, self._data, ())
        head = reader.read(HeadSection, {key: kept[key] for key in _HEAD if key in kept}, ()) or HeadSection()
        tiers, declared, teams = (self._named(kept, key) for key in ("tiers", "providers", "teams"))
        data_dir = find_data_dir(reader, head, self._values)
        moves = compile_rollouts(reader, self._named(kept, "rollouts"))
        snapshot = Snapshot(
            providers=self._providers(declared),
            tiers=self._tiers(tiers, list(declared)),
            aliases=read_aliases(reader, self._named(kept, "aliases")),
            users=self._users(kept.get("users"), Known(list(declared), list(teams))),
            default_tier=head.default_tier,
            auto_tiers=head.auto_tiers,
            track_performance=head.track_performance,
            track_cost=head.track_cost,
            teams=compile_teams(reader, teams),
            prices=compile_prices(reader, self._named(kept, "prices"), list(declared)),
            pricing_cache=find_pricing_cache(reader, head),
            data_dir=data_dir,
            ledger=compile_ledger(reader, kept.get("ledger"), data_dir),
            unpriced=cast(Any, head.unpriced),
            on_lost=cast(Any, head.on_lost),
            rollouts=moves.rollouts,
            courses=moves.courses,
            shadows=moves.shadows,
            max_stale_s=head.max_stale,
        )
        if head.default_tier is not None and head.default_tier not in tiers:
            hint = suggestion(head.default_tier, tiers, f"Use {choices(tiers)}." if tiers else "Add it under `tiers:`.")
            reader.note(("default_tier",), f"there is no tier {show(head.default_tier)}.", hint)
        check_aliases(reader, snapshot, list(tiers), list(declared))
        check_rollouts(reader, snapshot, list(tiers), list(declared))
        self._warn_captures(snapshot)
        self._warn_silent(snapshot)
        return snapshot

    def _named(self, kept: dict[str, Any], key: str) -> dict[str, Any]:
        data = kept.get(key, {})
        if isinstance(data, dict):
            return data
        self._reader.note((key,), f"`{key}` must be a mapping of names, not {kind_of(data)}.", "Indent each under its name.")
        return {}

    def _providers(self, data: dict[str, Any]) -> dict[str, Provider]:
        compiled: dict[str, Provider] = {}
        for name, values in data.items():
            path = ("providers", name)
            check_name(self._reader, path, name, "a provider")
            section = self._reader.read(ProviderSection, {} if values is None else values, path)
            if section is not None:
                provider = compile_provider(self._reader, self._environment, self._values, name, section, path)
                if provider is not None:
                    compiled[name] = provider
        return compiled

    def _tiers(self, data: dict[str, Any], providers: list[str]) -> dict[str, Tier]:
        compiled: dict[str, Tier] = {}
        for name, values in data.items():
            path = ("tiers", name)
            check_name(self._reader, path, name, "a tier")
            section = self._reader.read(TierSection, {} if values is None else values, path)
            if section is not None:
                tier = compile_tier(self._reader, name, section, path, providers)
                compiled[name] = tier
                twice = duplicate_of(tier.targets)
                if twice is not None and tier.strategy.name in ("race", "fallback"):
                    self._reader.warn((*path, "models"), f"{show(str(twice))} is here twice.", "Remove one.")
        return compiled

    def _users(self, data: Any, known: Known) -> dict[str, User]:
        return compile_users(self._reader, self._environment, data, ("users",), self._values, known)

    def _warn_silent(self, snapshot: Snapshot) -> None:
        """Warn where nobody could answer for a tier."""
        for name, tier in snapshot.tiers.items():
            asked = [snapshot.providers.get(target.provider) for target in tier.targets]
            if asked and all(provider is not None and provider.unusable for provider in asked):
                names = choices(dict.fromkeys(target.provider for target in tier.targets))
                self._reader.warn(("tiers", name), "none of its models can be asked.", f"Set the key of {names}, or enable it.")

    def _warn_captures(self, snapshot: Snapshot) -> None:
        """Warn where a tier that asks several models answers for a caller who named one."""
        captured: set[str] = set()
        for name, tier in snapshot.tiers.items():
            if not (snapshot.auto_tiers and tier.auto and tier.targets):
                continue
            first = tier.targets[0]
            if str(first) not in captured and tier.strategy.name in ("race", "consensus") and len(tier.targets) > 1:
                self._reader.warn(
                    ("tiers", name),
                    f"a request for plain {show(first.model)} becomes this {tier.strategy.name} of {len(tier.targets)} models:"
                    " its bills multiply.",
                    "Set `auto: false` here unless that is meant.",
                )
            captured.add(str(first))
