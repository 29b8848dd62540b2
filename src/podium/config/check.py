"""What `podium check` finds in files: errors and warnings of configs and user files.

Theory. A file says by its keys what it is: one with providers, tiers or aliases is a config, one with experiments is a user's.
Users' files that come with exactly one config are checked against its providers and teams.

Rules. Whatever a file holds, the answer is a list of problems and never an exception.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath

from podium.config.compile import compile_document
from podium.config.document import Document, read_document
from podium.config.problems import Findings, Problem
from podium.config.sections import ConfigSection, UserSection
from podium.config.shape import spellings
from podium.config.teams import Known
from podium.config.users import compile_user_file


def check_files(paths: Iterable[str | os.PathLike[str]], *, env: Mapping[str, str] | None = None) -> list[Problem]:
    """Check config and user files and return every problem, errors and warnings, file by file and line by line."""
    findings = Findings()
    values = os.environ if env is None else env
    documents = [document for path in paths if (document := read_document(path, findings)) is not None]
    configs = [document for document in documents if not is_user_file(document)]
    snapshots = [compile_document(document, findings, values) for document in configs]
    named = snapshots[0].users.values() if len(snapshots) == 1 else ()
    read = {FilePath(user.source).resolve() for user in named if user.source}
    declared = _declared(configs[0]) if len(configs) == 1 else None
    for document in documents:
        if document not in configs and FilePath(document.file or "").resolve() not in read:
            stem = FilePath(document.file or "").stem
            compile_user_file(document, findings, values, stem=stem, known=declared)
    return list(findings.problems)


def is_user_file(document: Document) -> bool:
    """Say whether a document is a user's config rather than a whole one."""
    if not isinstance(document.data, dict):
        return False
    keys = set(document.data)
    return bool(keys & set(spellings(UserSection))) and not keys & set(spellings(ConfigSection))


def _declared(config: Document) -> Known:
    data = config.data if isinstance(config.data, dict) else {}
    named = (data.get(key) for key in ("providers", "teams"))
    return Known(*(list(names) if isinstance(names, dict) else [] for names in named))
