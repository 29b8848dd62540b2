"""The tables, names and links of the documents agree with the code."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic_core import PydanticUndefined
from typer.main import get_command

import podium
from docs.blocks import DOCUMENTS, ROOT, anchors, blocks, links, prose, quoted, read, table
from podium import config, errors
from podium.catalog.providers import kinds
from podium.cli.main import app
from podium.cli.shadow_words import REASONS
from podium.config.sections import (
    ConfigSection,
    DefaultsSection,
    GuardSection,
    LedgerSection,
    PriceSection,
    ProviderSection,
    RampSection,
    RolloutSection,
    RuleSection,
    Section,
    ShadowSection,
    TeamSection,
    TierSection,
    UserSection,
)
from podium.engine.attempt import REASONING_FIRST_CONTENT_S, Patience
from podium.engine.models import DEFAULT_TIMEOUT_S
from podium.engine.rollout.usage import ShadowUsage
from podium.engine.shadow import Skipped
from podium.engine.slots import QUEUE_SIZE, QUEUE_WAIT_S
from podium.engine.text import Ask
from podium.engine.transport import CONNECT_TIMEOUT_S
from podium.ledger import Retention, UsageRow
from podium.ledger.store import GROUPINGS
from podium.observe import families, names
from podium.observe.report import Report, Row
from podium.routing.snapshot import Strategy
from podium.types import Result, Value


def _below(kind: type[errors.PodiumError]) -> Iterator[type[errors.PodiumError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from _below(child)


def test_the_table_of_errors_says_what_the_errors_say_of_themselves() -> None:
    rows = {quoted(row[0])[0]: row for row in table("docs/strategies.md", "errors")}
    of_attempts: set[type[errors.PodiumError]] = {
        errors.UnrepresentableError,
        errors.RateLimited,
        *_below(errors.ProviderError),
    }
    assert set(rows) == {kind.__name__ for kind in of_attempts}
    for kind in of_attempts:
        facts = [f"`{kind.code}`", "yes" if kind.retryable else "no", "yes" if kind.moves_on else "no"]
        assert rows[kind.__name__][1:4] == facts


def test_the_tables_of_settings_and_results_are_complete() -> None:
    settings = [name for row in table("docs/library.md", "settings") for name in quoted(row[0])]
    assert sorted(settings) == sorted(Ask.__annotations__)
    fields = [name for row in table("docs/library.md", "result") for name in quoted(row[0])]
    properties = [name for name, _ in inspect.getmembers(Result, lambda member: isinstance(member, property))]
    assert sorted(fields) == sorted([*Result.__struct_fields__, *properties])


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("config", ConfigSection),
        ("provider", ProviderSection),
        ("tier", TierSection),
        ("user", UserSection),
        ("defaults", DefaultsSection),
        ("team", TeamSection),
        ("price", PriceSection),
        ("ledger", LedgerSection),
        ("rollout", RolloutSection),
        ("shadow", ShadowSection),
        ("rule", RuleSection),
        ("ramp", RampSection),
        ("guard", GuardSection),
    ],
)
def test_a_table_of_keys_has_every_key_with_its_default(name: str, section: type[Section]) -> None:
    rows = {quoted(row[0])[0]: row for row in table("docs/config.md", name)}
    fields = {field.alias or key: field for key, field in section.model_fields.items()}
    assert set(rows) == set(fields)
    for key, field in fields.items():
        default: Any = field.default
        written = rows[key][2]
        if default is PydanticUndefined:
            assert written == "required"
        elif isinstance(default, bool):
            assert written == f"`{str(default).lower()}`"
        elif isinstance(default, int | str):
            assert written == f"`{default}`"
        else:
            assert "`" not in written


def test_the_table_of_kinds_is_the_catalog() -> None:
    rows = {quoted(row[0])[0]: row for row in table("docs/config.md", "kinds")}
    assert list(rows) == list(kinds())
    for name, kind in kinds().items():
        _, variables, address, dialect = rows[name]
        assert tuple(quoted(variables)) == kind.key_variables
        assert ("not required" in variables) is not kind.key_required
        assert quoted(address) == [kind.base_url]
        assert quoted(dialect) == [kind.dialect]


def test_the_table_of_commands_has_every_command() -> None:
    rows = {quoted(row[0])[0].split()[1] for row in table("README.md", "commands")}
    commands: Any = get_command(app)
    assert rows == set(commands.commands)


def test_the_timeouts_and_defaults_on_the_page_of_strategies_are_those_of_the_code() -> None:
    text = read("docs/strategies.md")
    patience = Patience()
    for row in (
        f"| connect | {CONNECT_TIMEOUT_S:g} s |",
        f"| first event | {patience.first_event_s:g} s |",
        f"| first content | {patience.first_content_s:g} s; {REASONING_FIRST_CONTENT_S:g} s ",
        f"| stall | {patience.stall_s:g} s |",
        f"| whole | {DEFAULT_TIMEOUT_S:g} s |",
        f"| `retries` | `{Strategy().retries}` |",
        f"| `min_answers` | `{Strategy().min_answers}` |",
        f"| `judge` | `{Strategy().judge}` |",
        f"| `on_insufficient` | `{Strategy().on_insufficient}` |",
    ):
        assert row in text


def test_the_queue_of_a_provider_is_as_long_as_the_page_of_the_config_says() -> None:
    assert f"up to {QUEUE_SIZE} more wait, for {QUEUE_WAIT_S:g} s at most" in read("docs/config.md")


@pytest.mark.parametrize(
    ("document", "name", "kind"),
    [("docs/money.md", "usage", UsageRow), ("docs/metrics.md", "report", Report), ("docs/metrics.md", "row", Row)],
)
def test_the_tables_of_usage_and_metrics_have_every_field(document: str, name: str, kind: type[Value]) -> None:
    fields = [field for row in table(document, name) for field in quoted(row[0])]
    assert sorted(fields) == sorted(kind.__struct_fields__)


def test_the_table_of_what_became_of_shadows_has_every_field() -> None:
    fields = [field for row in table("docs/rollouts.md", "shadow usage") for field in quoted(row[0])]
    assert sorted(fields) == sorted([*ShadowUsage.__struct_fields__, "drawn"])


def test_the_table_of_why_shadows_are_skipped_has_every_reason_and_each_has_words() -> None:
    reasons = [reason for part in typing.get_args(Skipped) for reason in typing.get_args(part)]
    rows = [reason for row in table("docs/rollouts.md", "skipped") for reason in quoted(row[0])]
    assert sorted(rows) == sorted(reasons) == sorted(REASONS)


def test_the_table_of_groupings_has_all_that_usage_can_be_grouped_by() -> None:
    assert [name for row in table("docs/money.md", "groupings") for name in quoted(row[0])] == list(GROUPINGS)


def test_the_table_of_prometheus_metrics_has_every_metric_that_is_written() -> None:
    """The source names them, some by parts: a name that nobody writes, or that the table lacks, shows either way."""
    rows = {name: row[1] for row in table("docs/metrics.md", "families") for name in quoted(row[0])}
    seconds = {f"{name.replace('.', '_')}_seconds" for name in (names.DURATION, names.FIRST_CHUNK)}
    source = inspect.getsource(families)
    written = {*re.findall(r'"(podium_\w+)"', source), *seconds, names.TOKEN_USAGE.replace(".", "_")}
    written |= {f"podium_{plural}_total" for plural in re.findall(r'\("\w+", "(\w+s)"\)', source)}
    assert set(rows) == written - {"podium_provider"}
    assert all((kind == "counter") == name.endswith("_total") for name, kind in rows.items())


def test_what_the_ledger_keeps_of_payloads_by_default_is_what_the_page_of_the_config_says() -> None:
    rows = {quoted(row[0])[0]: row[2] for row in table("docs/config.md", "ledger")}
    age_s, most_bytes = Retention()
    assert (rows["keep"], rows["keep_size"]) == (f"{(age_s or 0) / 86400:g} days", f"{(most_bytes or 0) / 2**30:g} GiB")


def test_every_public_name_is_in_the_documents() -> None:
    texts = "\n".join(read(document) for document in DOCUMENTS)
    missing = [name for name in podium.__all__ if not re.search(rf"\b{name}\b", texts)]
    assert not missing


def test_every_fact_of_a_consensus_is_on_the_page_of_strategies() -> None:
    text = read("docs/strategies.md")
    missing = [name for name in podium.types.Consensus.__struct_fields__ if f"`{name}`" not in text]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    for link in links(document):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / document).parent / target if target else ROOT / document
        assert path.exists(), f"{document} links to {link}, which is not there"
        if anchor:
            assert anchor in anchors(str(path.resolve().relative_to(ROOT))), f"{document}: {link} has no such heading"


def test_every_file_that_a_page_names_in_the_project_is_there() -> None:
    """Paths below src, docs, tests and examples, and modules named by their room, as `engine/runner.py`."""
    for document in DOCUMENTS:
        for path in re.findall(r"`((?:src|docs|tests|examples|engine|routing|wire|catalog)/[\w./-]+\.\w+)`", prose(document)):
            places = (ROOT / path, ROOT / "src/podium" / path)
            assert any(place.exists() for place in places), f"{document} names {path}, which is not there"


def test_a_block_is_skipped_only_for_a_reason() -> None:
    marks = [block.mark for document in DOCUMENTS for block in blocks(document)]
    known = {"", "output", "error", "fragment", "wrong", "fails", "soon"}
    skipped = [mark for mark in marks if mark not in known and not mark.startswith("file ")]
    assert all(re.fullmatch(r"skip: .{10,}", mark) for mark in skipped)
    assert len(skipped) <= 2


def test_the_documents_speak_of_nothing_outside_the_project() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"/work/|\.\./shared|127\.0\.0\.1|\bTODO\b", read(document)), document


def test_the_typescript_config_in_the_readme_is_the_yaml_beside_it() -> None:
    """An object literal without expressions is YAML, but for the variables."""
    by_language = {block.language: block.text for block in blocks("README.md") if "roviders:" in block.text}
    literal = by_language["typescript"].partition("createModels(")[2].removesuffix(")")
    assert yaml.safe_load(re.sub(r"envi\.(\w+)", r'"${\1}"', literal)) == yaml.safe_load(by_language["yaml"])


def test_the_python_configs_of_the_integration_guide_are_the_yaml_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in kinds().values():
        monkeypatch.setenv(kind.key_variables[0], "sk-documents-0123456789")
    found = blocks("docs/integration.md")
    in_python = [block.text for block in found if block.file == "core/orchestrator_instance.py"]
    in_yaml = [yaml.safe_load(block.text) for block in found if block.file == "podium.yaml"]
    assert len(in_python) == len(in_yaml) == 2
    for text, plain in zip(in_python, in_yaml, strict=True):
        namespace: dict[str, Any] = {}
        exec(text, namespace)
        written = namespace["models"].snapshot
        loaded = config.compile_config(plain)
        assert (written.tiers, written.default_tier, written.rollouts) == (loaded.tiers, loaded.default_tier, loaded.rollouts)
        for name, provider in loaded.providers.items():
            assert written.providers[name].replace(key_variable=provider.key_variable) == provider


def test_the_guide_and_the_examples_have_the_same_user_file() -> None:
    text = next(block.text for block in blocks("docs/integration.md") if block.file == "configs/researchers/john.yaml")
    example = (ROOT / "examples/configs/researchers/john.yaml").read_text("utf-8")
    assert yaml.safe_load(text) == yaml.safe_load(example)
