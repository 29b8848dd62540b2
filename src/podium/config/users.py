"""User files: who they are of, and what experiments they hold.

Theory. A researcher's file stands on its own: it names an id (or is given one), experiments and defaults. Whether its providers
exist is a matter of the config that it is used with.

Rules. Where a file is found by a glob, its stem is the id unless the file says its own. Where an id is given for a file (by
the config, or by `load_user`), a file that says another is an error: one of the two is a mistake.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, cast

from podium.config.document import Document, read_document
from podium.config.environment import Environment, hide_secrets
from podium.config.problems import Findings, Path, choices, kind_of, show, suggestion
from podium.config.providers import check_name
from podium.config.routes import check_provider, compile_experiment
from podium.config.sections import DefaultsSection, ExperimentSection, UserSection
from podium.config.shape import Reader
from podium.config.teams import Known, check_team, of_user
from podium.errors import ConfigError
from podium.routing.snapshot import Experiment, User

_GLOB_SIGNS = frozenset("*?[")

_NO_FILE = "Check the path, which counts from the config's folder, or from where the program runs."


def compile_user(
    reader: Reader,
    data: Any,
    *,
    given_id: str | None,
    stem: str | None = None,
    path: Path = (),
    known: Known | None = None,
    environment: Environment,
) -> User | None:
    """Make a `User` from values that `environment` expanded, at `path`; faults are noted, and None is the answer where nothing
    can be made.

    `given_id` is what the file must agree with, `stem` the id where it says none. Without `known`, nothing is said of whether
    providers and teams exist.
    """
    if not isinstance(data, dict):
        reader.note(path, f"a user's config must be a mapping, not {kind_of(data)}.", "Begin with `experiments:`.")
        return None
    kept = reader.keys(UserSection, data, path)
    experiments = kept.pop("experiments", {})
    defaults = reader.read(DefaultsSection, kept.pop("defaults", {}), (*path, "defaults")) or DefaultsSection()
    if isinstance(kept.get("keys"), dict):
        kept["keys"] = {provider: key for provider, key in kept["keys"].items() if key is not None}
    head = reader.read(UserSection, kept, path) or UserSection()
    compiled = dict(_experiments(reader, experiments, (*path, "experiments"), None if known is None else known.providers))
    if defaults.experiment is not None and isinstance(experiments, dict) and defaults.experiment not in experiments:
        hint = suggestion(defaults.experiment, experiments, f"Use {choices(experiments)}." if experiments else "Add it.")
        reader.note((*path, "defaults", "experiment"), f"there is no experiment {show(defaults.experiment)}.", hint)
    if known is not None:
        _check_names(reader, head, path, known)
    _warn_keys(reader, environment, head, path)
    user_id = _id(reader, path, given_id=given_id, own_id=head.user_id, stem=stem)
    if user_id is None:
        return None
    return User(
        id=user_id,
        name=head.name,
        experiments=compiled,
        default_experiment=defaults.experiment,
        timeout_s=defaults.timeout,
        allowance=of_user(defaults, head.timezone),
        team=head.team,
        mode=cast(Any, head.mode),
        keys={provider: key for provider, key in head.keys.items() if key is not None},
        performance_tracking=head.performance_tracking,
        source=reader.document.file if reader.document.written and not path else None,
    )


def _check_names(reader: Reader, head: UserSection, path: Path, known: Known) -> None:
    """Note the providers and the team that do not exist."""
    for provider in head.keys:
        check_provider(reader, provider, (*path, "keys", provider), known.providers)
    if head.team is not None:
        check_team(reader, head.team, (*path, "team"), known.teams)


def _warn_keys(reader: Reader, environment: Environment, head: UserSection, path: Path) -> None:
    """Warn of keys that are not there, or that stand where anybody could read them."""
    place = reader.written((*path, "keys"))
    for missing, variable in environment.missing.items():
        if missing[:-1] == place:
            words = f"the user has no key of their own here: `{variable}` is not set."
            reader.warn((*path, "keys", missing[-1]), words, "Set it, or remove the line.")
    for provider, key in head.keys.items():
        if key is not None and reader.document.written and (*place, provider) not in environment.named:
            words = "a key stands in the file itself."
            reader.warn((*path, "keys", provider), words, "Write `${NAME_OF_A_VARIABLE}` and set that variable.")
    if head.mode == "byok" and not any(head.keys.values()) and reader.is_whole(path):
        words = "the user has no keys of their own, so only providers that need none can be asked."
        reader.warn((*path, "mode"), words, "Add `keys: {openai: ${NAME}}`, or set `mode: shared`.")


def _id(reader: Reader, path: Path, *, given_id: str | None, own_id: str | None, stem: str | None) -> str | None:
    """Say whose config it is; a contradiction is noted."""
    if given_id is not None:
        if own_id not in (None, given_id):
            words = f"the file says that it is {show(own_id)}'s, and it is loaded as {show(given_id)}'s."
            reader.note((*path, "user_id"), words, "Make them equal, or remove the line.")
        return given_id
    user_id = own_id or stem
    if user_id is None:
        reader.note(path, "it is not said whose config this is.", "Add `user_id:`.")
        return None
    check_name(reader, (*path, "user_id") if own_id is not None else path, user_id, "a user")
    return user_id


def _experiments(reader: Reader, data: Any, path: Path, providers: Collection[str] | None) -> Iterator[tuple[str, Experiment]]:
    if not isinstance(data, dict):
        reader.note(path, f"experiments must be a mapping of names, not {kind_of(data)}.", "Indent each under its name.")
        return
    for name, values in data.items():
        place = (*path, name)
        check_name(reader, place, name, "an experiment")
        section = reader.read(ExperimentSection, {} if values is None else values, place)
        if section is not None:
            yield name, compile_experiment(reader, name, section, place, providers)


def read_user(
    file: str | os.PathLike[str],
    findings: Findings,
    values: Mapping[str, str],
    *,
    given_id: str | None = None,
    stem: str | None = None,
    known: Known | None = None,
) -> User | None:
    """Read a user file; faults are noted."""
    document = read_document(file, findings, missing=_NO_FILE)
    if document is None:
        return None
    return compile_user_file(document, findings, values, given_id=given_id, stem=stem, known=known)


def compile_user_file(
    document: Document,
    findings: Findings,
    values: Mapping[str, str],
    *,
    given_id: str | None = None,
    stem: str | None = None,
    known: Known | None = None,
) -> User | None:
    """Make a `User` from a whole document; faults are noted."""
    hide_secrets({"users": {"": document.data}}, findings)
    environment = Environment(values, document, findings, of_user=True)
    data = environment.expand(document.data)
    hide_secrets({"users": {"": data}}, findings)
    reader = Reader(document, findings, environment.broken)
    return compile_user(reader, data, given_id=given_id, stem=stem, known=known, environment=environment)


def compile_users(
    reader: Reader, environment: Environment, data: Any, path: Path, values: Mapping[str, str], known: Known
) -> dict[str, User]:
    """Make all users of a config: `users:` maps ids to files or to written-out configs, or is a glob of files."""
    if data is None:
        return {}
    users: dict[str, User] = {}
    if isinstance(data, str):
        for user in _found(reader, data, path, values, known):
            if user.id in users:
                reader.note(
                    path,
                    f"two files say that they are {show(user.id)}'s: {users[user.id].source} and {user.source}.",
                    "Give one of them another `user_id:`.",
                )
            users.setdefault(user.id, user)
        return users
    if not isinstance(data, dict):
        reader.note(path, f"users must be a mapping of ids to files, or a glob, not {kind_of(data)}.", "Write `id: file.yaml`.")
        return {}
    for user_id, entry in data.items():
        one = _one(reader, environment, user_id, entry, (*path, user_id), values, known)
        if one is not None:
            users[user_id] = one
    return users


def _one(
    reader: Reader, environment: Environment, user_id: str, entry: Any, path: Path, values: Mapping[str, str], known: Known
) -> User | None:
    """Make the user of one line of `users:`: a file, or a config written out."""
    check_name(reader, path, user_id, "a user")
    if not isinstance(entry, str):
        return compile_user(reader, entry, given_id=user_id, path=path, known=known, environment=environment)
    file = reader.document.directory / entry
    if _is_file(file):
        return read_user(file, reader.findings, values, given_id=user_id, known=known)
    reader.note(path, f"there is no file {show(entry)}.", f"It is looked for in {show(str(reader.document.directory))}.")
    return None


def _found(reader: Reader, glob: str, path: Path, values: Mapping[str, str], known: Known) -> Iterator[User]:
    """Make the users of all files that a glob matches."""
    directory = reader.document.directory
    is_glob = bool(_GLOB_SIGNS & set(glob))
    files = _matching(directory, glob) if is_glob else [file for file in [directory / glob] if _is_file(file)]
    words = f"{show(glob)} matches no file in {show(str(directory))}."
    if not files and is_glob:
        reader.warn(path, words, "Check the path; it counts from the config's own folder.")
    elif not files:
        reader.note(path, words, "For the files of a folder, write `folder/*.yaml`.")
    for file in files:
        user = read_user(file, reader.findings, values, stem=file.stem, known=known)
        if user is not None:
            yield user


def _matching(directory: FilePath, glob: str) -> list[FilePath]:
    """Files that a glob matches, in the order of their names; an absolute glob is taken from its root."""
    absolute = FilePath(glob)
    if absolute.is_absolute():
        directory, glob = FilePath(absolute.anchor), str(absolute.relative_to(absolute.anchor))
    try:
        return sorted(file for file in directory.glob(glob) if _is_file(file))
    except (OSError, ValueError, NotImplementedError):  # no pattern that a file system understands
        return []


def _is_file(file: FilePath) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a null
        return False


def load_user(
    user_id: str | None,
    path: str | os.PathLike[str],
    *,
    env: Mapping[str, str] | None = None,
    providers: Collection[str] | None = None,
    teams: Collection[str] = (),
) -> User:
    """Load a user file as the config of `user_id` (None: of the id that the file says, else of its stem).

    With `providers`, its targets and keys must be at one of them, and its team one of `teams`; `with_user` checks the same.
    Raises `ConfigError`.
    """
    findings = Findings()
    file = os.fspath(path)
    values = os.environ if env is None else env
    known = None if providers is None else Known(providers, teams)
    user = read_user(path, findings, values, given_id=user_id, stem=FilePath(file).stem, known=known)
    if user_id is not None:
        check_name(Reader(Document(None, file=file), findings), (), user_id, "a user")
    findings.raise_errors("The user file")
    if user is None:
        raise ConfigError(f"The user file {file} cannot be read.")
    return user
