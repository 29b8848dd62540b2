"""Which config a command uses, and the `Models` made from it.

Theory. A project has a `podium.yaml`; a newcomer has at most a key in the environment. So the config is the file that is named,
else the one in the folder, else one made from the environment: each known provider whose key variable is set, and `local`.

Rules. What is named must exist. Where the environment stands in for a file, errors say so, for the reader may expect a tier.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from podium.errors import PodiumError, RequestError

if TYPE_CHECKING:
    from podium.engine.models import Models

FILE_NAME = "podium.yaml"
VARIABLE = "PODIUM_CONFIG"


class Opened(NamedTuple):
    """A `Models` and the file behind it; None: the environment."""

    models: Models
    path: Path | None

    @property
    def origin(self) -> str:
        """Where the config comes from, for a reader."""
        return str(self.path) if self.path else f"the environment (there is no {FILE_NAME} here)"


def find_config(given: str | None) -> Path | None:
    """Return the config file to use: the given one, else `$PODIUM_CONFIG`, else `./podium.yaml` where there is one."""
    if named := given or os.environ.get(VARIABLE):
        return path_of(named)
    here = Path(FILE_NAME)
    return here if here.is_file() else None


def path_of(named: str) -> Path:
    """Return the file that is named; `-` is stdin."""
    return Path("/dev/stdin" if named == "-" else named)


def environment_providers(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return a config's providers as the environment gives them: each kind whose key variable is set, and `local`."""
    from podium.catalog.providers import kinds

    return {
        name: {}
        for name, kind in kinds().items()
        if name == "local" or any(environment.get(variable) for variable in kind.key_variables)
    }


def open_models(given: str | None) -> Opened:
    """Load the config that a command is to use. Raises `ConfigError` that lists every problem of it."""
    from podium.engine.models import create_models, load_models

    path = find_config(given)
    models = load_models(path) if path else create_models(providers=environment_providers(os.environ))
    return Opened(models, path)


@contextmanager
def explaining_source(opened: Opened) -> Iterator[None]:
    """Add to an error, where no config file was found, that there was none."""
    try:
        yield
    except PodiumError as error:
        if opened.path is None and error.code in ("unknown_spec", "all_targets_failed") and not error.attempts:
            more = f"There is no {FILE_NAME} here, so only providers with a key in the environment are known: `podium init`."
            error.hint = f"{error.hint} {more}" if error.hint else more
        raise


@contextmanager
def naming_file(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turn what the system says of a file into an error that names it. Raises `RequestError`."""
    try:
        yield
    except UnicodeDecodeError:
        raise RequestError(f"{what} {os.fspath(path)} is not UTF-8 text.", hint="Save it as UTF-8.") from None
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        raise RequestError(f"{what} {os.fspath(path)}: {reason}.", hint="Check the path and who may use it.") from None


def read_text(path: str, what: str) -> str:
    """Read a text file. Raises `RequestError` that names it."""
    with naming_file(path, what):
        return Path(path).read_text("utf-8-sig")
