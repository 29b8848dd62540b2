"""Every block of every document does what the document says, against simulated providers."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from docs.blocks import DOCUMENTS, ROOT, blocks
from docs.stage import Stage, ToSim
from podium import config
from podium.catalog.providers import kinds
from podium.engine import models as facade
from podium.engine.prices import sources as price_sources
from podium.sim import Sim

PRICED_ONLINE: dict[str, Any] = {
    "GENAI_URL": [
        {
            "id": "openai",
            "models": [
                {"id": "gpt-4o", "match": {"equals": "gpt-4o"}, "prices": {"input_mtok": 2.5, "output_mtok": 10}},
                {"id": "gpt-4o-mini", "match": {"equals": "gpt-4o-mini"}, "prices": {"input_mtok": 0.15, "output_mtok": 0.6}},
            ],
        }
    ],
    "OPENROUTER_URL": {"data": [{"id": "openai/gpt-4o", "pricing": {"prompt": "0.0000025", "completion": "0.00001"}}]},
}
"""What the places say, in their own shapes, that `podium prices fetch` asks."""


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    with Sim(providers=[*kinds()], seed=1) as sim:
        yield sim


@pytest.fixture
def stage(
    sim: Sim, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    monkeypatch.setattr(facade, "AiohttpTransport", partial(ToSim, sim))
    for kind in kinds().values():
        for variable in kind.key_variables:
            monkeypatch.delenv(variable, raising=False)
        if kind.key_required:
            monkeypatch.setenv(kind.key_variables[0], "sk-documents-0123456789")
    monkeypatch.setenv("OPENAI_BASE_URL", sim.base_url("openai"))  # for the legacy code of the integration guide
    for variable in ("PODIUM_CONFIG", "PODIUM_DATA"):
        monkeypatch.delenv(variable, raising=False)
    places = tmp_path_factory.mktemp("places")
    for place, said in PRICED_ONLINE.items():
        (places / place).write_text(json.dumps(said), "utf-8")
        monkeypatch.setattr(price_sources, place, str(places / place))  # a source may be a file
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    logger = logging.getLogger("podium")
    told, level = list(logger.handlers), logger.level
    before = set(sys.modules)
    with asyncio.Runner() as runner:
        yield Stage(tmp_path, runner)
    logger.handlers[:] = told
    logger.setLevel(level)
    for name in set(sys.modules) - before:
        origins = getattr(sys.modules[name], "__path__", [getattr(sys.modules[name], "__file__", None) or ""])
        if any(str(place).startswith(str(tmp_path)) for place in origins):
            del sys.modules[name]


PERFORMED_ELSEWHERE = {"docs/tutorial.md": "tests/examples/test_legacy_app.py"}
"""Documents whose blocks need a service that runs, and the tests that perform them."""


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if blocks(name) and name not in PERFORMED_ELSEWHERE])
def test_a_document_can_be_followed_block_by_block(document: str, stage: Stage) -> None:
    for block in blocks(document):
        try:
            stage.perform(block)
        except Exception as error:
            error.add_note(f"in the block at {block.place}")
            raise


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/configs/*.yaml")), ids=lambda path: path.name)
def test_an_example_config_has_no_problem(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in kinds().values():
        monkeypatch.setenv(kind.key_variables[0], "sk-documents-0123456789")
    snapshot = config.compile_config(config.load_config(path))
    assert snapshot.providers
    assert {user.source for user in snapshot.users.values()} == {
        str(found) for found in ROOT.glob("examples/configs/researchers/*.yaml")
    }
