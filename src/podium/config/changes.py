"""Changes at run time: each makes the next snapshot.

Theory. A snapshot never changes; a change makes another, with the next version, and is held to the same rules as the config.

Rules. What is wrong is told as of a config, and then nothing changes at all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from podium.config.document import Document, plain
from podium.config.environment import Environment, hide_secrets
from podium.config.problems import Findings, Path, show, suggestion
from podium.config.providers import change_provider
from podium.config.routes import check_provider
from podium.config.sections import ProviderSection
from podium.config.shape import Reader, spellings
from podium.config.teams import check_team
from podium.errors import ConfigError
from podium.routing.snapshot import Provider, Snapshot, User


def with_user(snapshot: Snapshot, user: User) -> Snapshot:
    """Return the next snapshot, with this user added, or in the place of the one with the same id.

    Raises `ConfigError` where an experiment's or a key's provider, or the team, does not exist.
    """
    findings = Findings()
    reader = Reader(Document(None, file=user.source), findings)
    known = list(snapshot.providers)
    for name, experiment in user.experiments.items():
        for place, target in enumerate(experiment.targets):
            check_provider(reader, target.provider, ("experiments", name, "providers", place), known)
        if experiment.strategy.escalate_to is not None:
            path = ("experiments", name, "escalate_to")
            check_provider(reader, experiment.strategy.escalate_to.provider, path, known)
    for provider in user.keys:
        check_provider(reader, provider, ("keys", provider), known)
    if user.team is not None:
        check_team(reader, user.team, ("team",), snapshot.teams)
    findings.raise_errors(f"The config of user {show(user.id)}")
    return snapshot.replace(version=snapshot.version + 1, users={**snapshot.users, user.id: user})


def update_provider(snapshot: Snapshot, id: str, /, *, env: Mapping[str, str] | None = None, **changes: Any) -> Snapshot:
    """Return the next snapshot, with some fields of one provider changed.

    The fields are those of the config (`enabled`, `timeout`, `max_concurrent`, `base_url`, `api_key`, `headers`, `models`), in
    either spelling, and are validated like it; None takes a timeout or a limit away. Raises `ConfigError`.
    """
    findings = Findings()
    document = Document(None, file="update_provider")
    values = os.environ if env is None else env
    provider = snapshot.providers.get(id)
    path = (id,)
    if provider is None:
        Reader(document, findings).note((), f"there is no provider {show(id)}.", suggestion(id, snapshot.providers))
        findings.raise_errors("The update")
        raise ConfigError(f"There is no provider {show(id)}.")
    data = plain({id: changes}, document, findings)
    hide_secrets({"providers": data}, findings)
    environment = Environment(values, document, findings)
    data = environment.expand(data)
    hide_secrets({"providers": data}, findings)
    reader = Reader(document, findings, environment.broken)
    cleared = {key: value for key, value in data[id].items() if value is None}
    section = reader.read(ProviderSection, data[id], path)
    changed = None
    if section is not None:
        changed = _changed(reader, environment, values, provider, section, cleared, path)
    findings.raise_errors("The update")
    if changed is None:
        raise ConfigError(f"The update of {show(id)} is not possible.")
    return snapshot.replace(version=snapshot.version + 1, providers={**snapshot.providers, id: changed})


def _changed(
    reader: Reader,
    environment: Environment,
    values: Mapping[str, str],
    provider: Provider,
    section: ProviderSection,
    cleared: dict[str, Any],
    path: Path,
) -> Provider | None:
    """Apply a change; what was given as None goes back to its default."""
    names = {spellings(ProviderSection)[key] for key in cleared if key in spellings(ProviderSection)}
    given = section.model_copy(update={key: ProviderSection.model_fields[key].default for key in names})
    if section.id not in (None, provider.name):
        reader.note((*path, "id"), "the id of a provider cannot change.", "Leave it out.")
    return change_provider(reader, environment, values, provider, given, path)
