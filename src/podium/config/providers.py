"""Providers: from a section of the config to a `Provider`, and from one `Provider` to its successor.

Theory. A provider is its kind's row with what the config says instead. What keeps it from being asked (disabled, no key) is no
error: it loads, says why in `unusable`, and its targets are skipped with those words.

Rules. A key is looked for in `api_key`, then in its kind's usual environment variables. A key that the config names but the
environment lacks is missing, even where the kind needs none: who names a key wants it sent. A key given to a kind that needs
none is sent as a bearer token. A key that stands in a file is worth a warning, except for an address on the same machine,
where keys are often made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from podium.catalog.providers import CUSTOM, Auth, Kind, kinds
from podium.config.environment import KEY_NAMES, Environment
from podium.config.problems import Path, choices, show, suggestion
from podium.config.sections import ProviderSection
from podium.config.shape import Reader
from podium.routing.snapshot import ModelEntry, Provider
from podium.types import Secret

SYNONYMS = {
    "ollama": "local",
    "google": "gemini",
    "grok": "xai",
    "x-ai": "xai",
    "claude": "anthropic",
    "together_ai": "together",
}
"""What else people call a kind; for suggestions only."""

_CUSTOM_KIND = Kind(base_url="", dialect="openai_chat", auth="bearer", key_variables=(), key_required=False)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "host.docker.internal"})


def check_name(reader: Reader, path: Path, name: str, what: str) -> None:
    """Note a name that a spec could not hold."""
    if not name or name != name.strip() or not name.isprintable():
        reader.note(path, f"this is no name for {what}.", "Use letters, digits, dashes and underscores.")
    elif "/" in name or ":" in name:
        held = choices([sign for sign in "/:" if sign in name])
        reader.note(path, f"a name for {what} cannot have {held} in it; specs are split there.", "Use a dash or an underscore.")


def compile_provider(
    reader: Reader, environment: Environment, values: Mapping[str, str], name: str, section: ProviderSection, path: Path
) -> Provider | None:
    """Make a `Provider`; faults are noted, and then the answer is None."""
    if section.id is not None and section.id != name:
        reader.note(
            (*path, "id"), f"the id is {show(section.id)}, but its key is {show(name)}.", "Make them equal, or remove the id."
        )
    kind = _kind(reader, name, section, path)
    if kind is None:
        return None
    row = _row(kind)
    base_url = section.base_url or row.base_url
    if not base_url:
        if not reader.is_lost((*path, "base_url")):
            reader.note(path, "a custom provider needs a `base_url`.", "Add `base_url: https://...`.")
        return None
    api_key, variable, named = _key(reader, environment, values, section, row, path)
    dialect = section.dialect or row.dialect
    provider = Provider(
        name=name,
        kind=kind,
        dialect=dialect,
        base_url=base_url,
        auth=_auth(row, dialect, api_key),
        api_key=api_key,
        key_variable=variable,
        enabled=section.enabled,
        unusable=_unusable(section.enabled, api_key, _wanted(row, variable, named=named)),
        timeout_s=section.timeout,
        max_concurrent=section.max_concurrent,
        headers=_headers(section),
        models=_models(section),
        owns=row.owns,
        serves=row.serves,
    )
    _warn(reader, provider, path)
    return provider


def _models(section: ProviderSection) -> dict[str, ModelEntry]:
    return {
        public: ModelEntry(upstream=model.upstream or public, priced_as=model.priced_as)
        for public, model in section.models.items()
    }


def _headers(section: ProviderSection) -> dict[str, Secret]:
    return {name: Secret(value) for name, value in section.headers.items()}


def _row(kind: str) -> Kind:
    return kinds().get(kind, _CUSTOM_KIND)


def _kind(reader: Reader, name: str, section: ProviderSection, path: Path) -> str | None:
    known = [*kinds(), CUSTOM]
    if section.kind is not None:
        if section.kind in known:
            return section.kind
        hint = f"Did you mean `{SYNONYMS[section.kind]}`?" if section.kind in SYNONYMS else suggestion(section.kind, known)
        reader.note((*path, "kind"), f"there is no kind of provider {show(section.kind)}.", hint or f"Use {choices(known)}.")
        return None
    if name in kinds():
        return name
    if section.base_url is None:
        if reader.is_lost((*path, "base_url")):
            return None
        meant = SYNONYMS.get(name)
        hint = f"Did you mean `{meant}`?" if meant else suggestion(name, kinds())
        fix = "Give it a `base_url`, or say which `kind` it is."
        reader.note(
            path, f"{show(name)} is no known kind of provider and has no `base_url`.", f"{hint} Else: {fix}" if hint else fix
        )
        return None
    return CUSTOM


def _key(
    reader: Reader, environment: Environment, values: Mapping[str, str], section: ProviderSection, row: Kind, path: Path
) -> tuple[Secret | None, str | None, bool]:
    """The key, the variable that it comes from or should come from, and whether the config names that variable."""
    place = reader.written((*path, "api_key"))
    for spelled in KEY_NAMES:
        missing = environment.missing.get((*reader.written(path), spelled))
        if missing is not None:
            return None, missing, True
    if section.api_key is not None:
        return section.api_key, environment.named.get(place), place in environment.named
    return (*_usual_key(values, row), False)


def _usual_key(values: Mapping[str, str], row: Kind) -> tuple[Secret | None, str | None]:
    for variable in row.key_variables:
        if found := values.get(variable, "").strip():
            return Secret(found), variable
    return None, row.key_variables[0] if row.key_variables and row.key_required else None


def _auth(row: Kind, dialect: str, api_key: Secret | None) -> Auth:
    if row.auth == "none" and api_key is None:
        return "none"
    if dialect != row.dialect:
        return "x-api-key" if dialect == "anthropic" else "bearer"
    return "bearer" if row.auth == "none" and api_key is not None else row.auth


def _wanted(row: Kind, variable: str | None, *, named: bool) -> tuple[str, ...]:
    """The variables of which one must be set, where the key is missing."""
    if named and variable is not None:
        return (variable,)
    return row.key_variables if row.key_required else ()


def _unusable(enabled: bool, api_key: Secret | None, wanted: tuple[str, ...]) -> str | None:
    if not enabled:
        return "disabled: set enabled: true to use it"
    if api_key is not None or not wanted:
        return None
    return f"no API key: set {' or '.join(wanted)} (or api_key: in the config)"


def _warn(reader: Reader, provider: Provider, path: Path) -> None:
    if provider.enabled and provider.unusable:
        reader.warn(path, f"this provider is skipped: {provider.unusable}.")
    parts = urlsplit(provider.base_url)
    if provider.api_key is None or parts.hostname in _LOOPBACK:
        return
    if parts.scheme == "http":
        reader.warn((*path, "base_url"), "the key would travel without encryption.", "Use `https://`.")
    if provider.key_variable is None and reader.document.written:
        usual = next(iter(_row(provider.kind).key_variables), "NAME_OF_A_VARIABLE")
        reader.warn((*path, "api_key"), "a key stands in the file itself.", f"Write `${{{usual}}}` and set that variable.")


def change_provider(
    reader: Reader,
    environment: Environment,
    values: Mapping[str, str],
    provider: Provider,
    section: ProviderSection,
    path: Path,
) -> Provider | None:
    """Make the successor of a provider from a section that holds only what changes; None where a fault was noted."""
    given = section.model_fields_set
    if section.kind not in (None, provider.kind):
        reader.note((*path, "kind"), "the kind of a provider cannot change.", "Declare another provider in the config.")
        return None
    row = _row(provider.kind)
    api_key, variable = provider.api_key, provider.key_variable
    named = variable is not None and variable not in row.key_variables
    if "api_key" in given:
        api_key, variable, named = _key(reader, environment, values, section, row, path)
    enabled = section.enabled if "enabled" in given else provider.enabled
    dialect = section.dialect or provider.dialect
    changed = provider.replace(
        dialect=dialect,
        base_url=section.base_url or (row.base_url if "base_url" in given else "") or provider.base_url,
        auth=_auth(row, dialect, api_key),
        api_key=api_key,
        key_variable=variable,
        enabled=enabled,
        unusable=_unusable(enabled, api_key, _wanted(row, variable, named=named)),
    )
    if "timeout" in given:
        changed = changed.replace(timeout_s=section.timeout)
    if "max_concurrent" in given:
        changed = changed.replace(max_concurrent=section.max_concurrent)
    if "headers" in given:
        changed = changed.replace(headers=_headers(section))
    if "models" in given:
        changed = changed.replace(models=_models(section))
    return changed


def masked_provider(provider: Provider) -> dict[str, Any]:
    """Return a provider as plain values: the key masked, header values hidden, and whether it can be asked."""
    return {
        "id": provider.name,
        "kind": provider.kind,
        "dialect": provider.dialect,
        "base_url": provider.base_url,
        "auth": provider.auth,
        "api_key": provider.api_key.mask() if provider.api_key is not None else None,
        "key_variable": provider.key_variable,
        "enabled": provider.enabled,
        "usable": provider.unusable is None,
        "unusable": provider.unusable,
        "timeout_s": provider.timeout_s,
        "max_concurrent": provider.max_concurrent,
        "headers": dict.fromkeys(provider.headers, "…"),
        "models": {public: entry.to_dict() for public, entry in provider.models.items()},
    }
