"""Fetching prices over real HTTP, merging them, the file, and the book made of it."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from podium import load_models
from podium.catalog.price_sheet import load_heading, load_row
from podium.engine.prices.book import find_target, load_prices
from podium.engine.prices.bundle import BundledLayer, bundled_source, read_bundled
from podium.engine.prices.fetch import Fetched, fetch_prices
from podium.engine.prices.sources import Source, find_sources
from podium.errors import ConfigError, StoreError
from podium.routing.snapshot import ModelEntry, Provider
from podium.types import Usage
from recordings import FOLDER

NOW = 1_795_423_200.0  # 2026-11-23T08:00:00Z
MILLION = Usage(input=1_000_000, output=1_000_000)

Site = Callable[..., str]


@pytest.fixture
async def site() -> AsyncIterator[tuple[dict[str, Any], str]]:
    """A server whose pages are a dict: bytes, a status, or a function that answers; and where it is."""
    pages: dict[str, Any] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        page = pages.get(request.path)
        if page is None:
            return web.Response(status=404)
        if isinstance(page, int):
            return web.Response(status=page)
        if callable(page):
            response: web.StreamResponse = await page(request)
            return response
        return web.Response(body=page if isinstance(page, bytes) else json.dumps(page).encode())

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield pages, f"http://{host}:{port}"
    await runner.cleanup()


def own(**models: Any) -> dict[str, Any]:
    return {"models": {name.replace("__", "/"): row for name, row in models.items()}}


def priced(inputs: float, outputs: float, **more: Any) -> dict[str, Any]:
    return {"inputPerMillion": inputs, "outputPerMillion": outputs, **more}


def genai(*models: tuple[str, float, float], provider: str = "openai") -> list[dict[str, Any]]:
    return [
        {
            "id": provider,
            "models": [
                {"id": name, "match": {"starts_with": name}, "prices": {"input_mtok": a, "output_mtok": b}}
                for name, a, b in models
            ],
        }
    ]


def openrouter(*models: tuple[str, str, str]) -> dict[str, Any]:
    return {"data": [{"id": name, "pricing": {"prompt": a, "completion": b}} for name, a, b in models]}


def sources(url: str, *paths: str) -> tuple[Source, ...]:
    """The given pages, as the user's own sources, and no others."""
    return tuple(Source(f"{url}{path}", f"{url}{path}", 0) for path in paths)


def row_of(path: Path, name: str) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(path.read_bytes(), parse_float=Decimal)["models"][name]
    return row


def refusals(fetched: Fetched) -> dict[str, str]:
    return {name: reason for answer in fetched.sources for name, reason in answer.refused.items()}


# --- the file --------------------------------------------------------------------------------------------------------


async def test_the_file_has_the_guides_shape_and_comes_back_exactly(site: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    pages, url = site
    pages["/p"] = (
        b'{"models": {"openai/gpt-4o": {"inputPerMillion": 2.50, "outputPerMillion": 10, "cachedInputPerMillion": 1.25}}}'
    )
    out = tmp_path / "deep" / "pricing-cache.json"
    await fetch_prices(sources(url, "/p"), out, NOW)
    assert row_of(out, "openai/gpt-4o") == {
        "inputPerMillion": Decimal("2.5"),
        "outputPerMillion": 10,
        "cachedInputPerMillion": Decimal("1.25"),
        "updatedAt": "2026-11-23T08:40:00Z",
        "source": f"{url}/p",
    }
    book = load_prices(out, bundled=False)
    assert book["openai/gpt-4o"].cost(Usage(input=3, output=1, cache_read=7)) == Decimal("0.00002625")


async def test_everything_bundled_comes_back_from_the_file_exactly(tmp_path: Path) -> None:
    out = tmp_path / "pricing-cache.json"
    fetched = await fetch_prices(find_sources(("bundled",)), out, NOW)
    heading = load_heading(out.read_bytes())
    rows = read_bundled().rows
    assert fetched.models == len(rows) > 2_000
    for name, row in rows.items():
        assert load_row(heading.models[name]) == row.on("2026-11-23")
        assert load_row(heading.models[name]).terms() == row.terms()
    assert list(heading.models) == list(rows)
    again = await fetch_prices(find_sources(("bundled",)), out, NOW + 86_400)
    assert (again.added, again.removed, again.changed, again.first) == ((), (), (), False)


async def test_dated_rates_stand_at_the_top_of_a_row_from_their_day_on(tmp_path: Path) -> None:
    out = tmp_path / "prices.json"
    await fetch_prices(find_sources(("bundled",)), out, NOW)
    row = row_of(out, "anthropic/claude-opus-4-6")
    assert row["inputPerMillion"] == 5
    assert "tiers" not in row
    assert "tiers" in row["periods"][0]


async def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    out = tmp_path / "pricing-cache.json"
    await fetch_prices(find_sources(("bundled",)), out, NOW)
    seen, stop = [], threading.Event()

    def read_on() -> None:
        while not stop.is_set():
            seen.append(len(load_heading(out.read_bytes()).models))

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        for turn in range(5):
            await fetch_prices(find_sources(("bundled",)), out, NOW + turn)
    finally:
        stop.set()
        reader.join()
    assert len(set(seen)) == 1
    assert os.listdir(tmp_path) == ["pricing-cache.json"]


async def test_a_file_that_cannot_be_written_stays_and_the_error_names_it(
    site: tuple[dict[str, Any], str], tmp_path: Path
) -> None:
    pages, url = site
    pages["/p"] = own(openai__a=priced(1, 2))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be written"):
        await fetch_prices(sources(url, "/p"), tmp_path / "file" / "pricing-cache.json", NOW)


# --- what changed ------------------------------------------------------------------------------------------------------


async def test_what_was_added_removed_and_changed_is_said(site: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    pages, url = site
    out = tmp_path / "prices.json"
    pages["/p"] = own(openai__a=priced(1, 2), openai__b=priced(1, 2), openai__c=priced(1, 2))
    assert (await fetch_prices(sources(url, "/p"), out, NOW)).first
    pages["/p"] = own(openai__a=priced(1, 3, perRequest=0.01), openai__b=priced(1, 2), openai__d=priced(4, 5))
    fetched = await fetch_prices(sources(url, "/p"), out, NOW + 60)
    assert [change.name for change in fetched.added] == ["openai/d"]
    assert [change.name for change in fetched.removed] == ["openai/c"]
    (change,) = fetched.changed
    assert change.name == "openai/a"
    assert change.before == {"outputPerMillion": "2", "perRequest": None}
    assert change.after == {"outputPerMillion": "3", "perRequest": "0.01"}


# --- precedence --------------------------------------------------------------------------------------------------------


async def test_the_users_own_come_before_openrouter_before_genai_prices_before_the_bundled_data(
    site: tuple[dict[str, Any], str], tmp_path: Path
) -> None:
    pages, url = site
    pages["/one"] = own(openai__first=priced(11, 1))
    (tmp_path / "mine.json").write_text(json.dumps(own(openai__first=priced(12, 1), openai__second=priced(13, 1))))
    pages["/openrouter"] = openrouter(("openai/gpt-4o", "0.000014", "0.00002"))
    pages["/genai"] = [
        *genai(("first", 15, 1), ("second", 16, 1), ("gpt-4o", 2.6, 11)),
        *genai(("openai/gpt-4o", 17, 18), provider="openrouter"),
    ]
    named = (f"{url}/one", str(tmp_path / "mine.json"))
    chosen = find_sources(named, {"openrouter": f"{url}/openrouter", "genai-prices": f"{url}/genai"})
    assert [source.rank for source in chosen] == [0, 0, 1, 2, 3]
    out = tmp_path / "prices.json"
    fetched = await fetch_prices(chosen, out, NOW)
    for name, inputs, source in (
        ("openai/first", 11, f"{url}/one"),
        ("openai/second", 13, str(tmp_path / "mine.json")),
        ("openrouter/openai/gpt-4o", 14, "openrouter"),
        ("openai/gpt-4o", Decimal("2.6"), "genai-prices"),
        ("anthropic/claude-haiku-4-5", 1, bundled_source()),
    ):
        row = row_of(out, name)
        assert (row["inputPerMillion"], row["source"]) == (inputs, source), name
    assert [answer.rows for answer in fetched.sources][:4] == [1, 1, 1, 1]
    assert row_of(out, "openai/first")["match"] == {"starts_with": "first"}


async def test_the_recorded_list_of_openrouter_is_read_to_its_tiers(site: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    recorded = FOLDER / "openrouter" / "models-list.response.json"
    if not recorded.exists():
        pytest.skip("no recordings here; set PODIUM_FIXTURES")
    pages, url = site
    pages["/models"] = recorded.read_bytes()
    out = tmp_path / "prices.json"
    fetched = await fetch_prices((Source("openrouter", f"{url}/models", 1),), out, NOW)
    assert refusals(fetched) == {}
    price = load_prices(out, bundled=False)["openrouter/anthropic/claude-sonnet-4"]
    assert price.cost(Usage(input=100, output=10, cache_write_1h=3)) == Decimal("0.000468")
    assert price.cost(Usage(input=200_000)) == Decimal("1.2")


# --- sources that fail ---------------------------------------------------------------------------------------------------


async def forever(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


async def huge(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(b" " * 2**16)
    return response


async def bomb(request: web.Request) -> web.StreamResponse:
    return web.Response(body=gzip.compress(b" " * 2**24), headers={"content-encoding": "gzip"})


async def loop(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"location": str(request.url)})


async def broken(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-length": "1000"})
    await response.prepare(request)
    await response.write(b'{"models": {')
    assert request.transport is not None
    request.transport.close()
    return response


FAILING: list[tuple[Any, str]] = [
    (503, "status 503"),
    (forever, "did not answer within"),
    (huge, "larger than 1 MiB"),
    (bomb, "larger than 1 MiB"),
    (loop, "redirects"),
    (broken, "connection broke"),
    (b"<html>no</html>", "not JSON"),
    (b"\xff\xfe", "not JSON"),
    (b"[]", "known shapes"),
    (own(openai__a=priced(-1, -1)), "no usable row"),
]


@pytest.mark.parametrize(("page", "reason"), FAILING, ids=[reason for _, reason in FAILING])
async def test_a_source_that_fails_keeps_what_it_gave_last_and_says_why(
    page: Any, reason: str, site: tuple[dict[str, Any], str], tmp_path: Path
) -> None:
    pages, url = site
    out = tmp_path / "prices.json"
    pages["/good"], pages["/bad"] = own(openai__good=priced(1, 2)), own(openai__bad=priced(3, 4))
    asked = sources(url, "/good", "/bad")
    await fetch_prices(asked, out, NOW)
    pages["/bad"], pages["/good"] = page, own(openai__good=priced(1, 5))
    fetched = await fetch_prices(asked, out, NOW + 60, patience_s=0.5, largest=2**20)
    good, bad = fetched.sources
    assert good.error is None
    assert bad.error is not None
    assert reason in bad.error
    assert bad.kept == 1
    assert row_of(out, "openai/bad")["inputPerMillion"] == 3
    assert row_of(out, "openai/bad")["updatedAt"] == "2026-11-23T08:40:00Z"
    assert row_of(out, "openai/good")["outputPerMillion"] == 5


async def test_a_source_that_is_down_is_told_from_one_that_answers_wrongly(tmp_path: Path) -> None:
    source = Source("down", "http://127.0.0.1:9", 0)
    fetched = await fetch_prices((source, *find_sources(("bundled",))), tmp_path / "prices.json", NOW)
    assert "no connection" in (fetched.sources[0].error or "")
    missing = await fetch_prices(
        (Source("gone", str(tmp_path / "gone.json"), 0), *find_sources(("bundled",))), tmp_path / "prices.json", NOW
    )
    assert missing.sources[0].error == "No such file or directory"


async def test_nothing_usable_is_an_error_and_the_file_stays(site: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    pages, url = site
    out = tmp_path / "prices.json"
    pages["/p"] = own(openai__a=priced(1, 2))
    await fetch_prices(sources(url, "/p"), out, NOW)
    before = out.read_bytes()
    pages["/p"] = 500
    with pytest.raises(StoreError, match="status 500") as caught:
        await fetch_prices(sources(url, "/p"), out, NOW + 60)
    assert "stays as it was" in caught.value.message
    assert out.read_bytes() == before


async def test_a_last_file_that_is_broken_is_replaced_and_told(site: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    pages, url = site
    pages["/p"] = own(openai__a=priced(1, 2))
    out = tmp_path / "prices.json"
    out.write_bytes(b"{")
    fetched = await fetch_prices(sources(url, "/p"), out, NOW)
    assert fetched.first
    assert "no price file" in (fetched.note or "")


def test_what_may_be_secret_in_an_address_is_not_shown() -> None:
    (source, *_) = find_sources(("https://user:secret@prices.example/list.json?key=secret#x",))
    assert source.name == "https://prices.example/list.json"


# --- rows that lie ---------------------------------------------------------------------------------------------------------


async def test_a_row_that_lies_keeps_what_it_was(site: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    pages, url = site
    out = tmp_path / "prices.json"
    names = ("negative", "text", "nan", "huge", "zero", "per_token", "per_thousandth", "fine")
    pages["/p"] = own(**{f"openai__{name}": priced(2, 4) for name in names})
    await fetch_prices(sources(url, "/p"), out, NOW)
    pages["/p"] = (
        b'{"models": {"openai/negative": {"inputPerMillion": -2, "outputPerMillion": 4},'
        b'"openai/text": {"inputPerMillion": "2", "outputPerMillion": 4},'
        b'"openai/nan": {"inputPerMillion": NaN, "outputPerMillion": 4},'
        b'"openai/huge": {"inputPerMillion": 2e9, "outputPerMillion": 4},'
        b'"openai/zero": {"inputPerMillion": 0, "outputPerMillion": 0},'
        b'"openai/per_token": {"inputPerMillion": 0.000002, "outputPerMillion": 0.000004},'
        b'"openai/per_thousandth": {"inputPerMillion": 2, "outputPerMillion": 4000},'
        b'"openai/fine": {"inputPerMillion": 3, "outputPerMillion": 4}}}'
    )
    fetched = await fetch_prices(sources(url, "/p"), out, NOW + 60)
    reasons = refusals(fetched)
    assert set(reasons) == {f"openai/{name}" for name in names[:-1]}
    for name, words in (("zero", "costs nothing"), ("per_token", "per million"), ("per_thousandth", "1,000 times")):
        assert words in reasons[f"openai/{name}"]
    assert [change.name for change in fetched.changed] == ["openai/fine"]
    assert fetched.sources[0].kept == 7
    for name in names[:-1]:
        assert row_of(out, f"openai/{name}")["inputPerMillion"] == 2


async def test_a_wrong_price_of_the_last_file_does_not_keep_the_right_one_out(
    site: tuple[dict[str, Any], str], tmp_path: Path
) -> None:
    pages, url = site
    out = tmp_path / "prices.json"
    pages["/p"] = own(**{"openai/gpt-4o": priced(0.0000025, 0.00001)})
    await fetch_prices(sources(url, "/p"), out, NOW)
    pages["/p"] = own(**{"openai/gpt-4o": priced(2.5, 10)})
    fetched = await fetch_prices((*sources(url, "/p"), *find_sources(("bundled",))), out, NOW + 60)
    assert refusals(fetched) == {}
    assert row_of(out, "openai/gpt-4o")["inputPerMillion"] == Decimal("2.5")


async def test_a_zero_that_is_meant_is_believed(site: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    pages, url = site
    out = tmp_path / "prices.json"
    pages["/p"] = own(
        openai__gift=priced(0, 0, free=True), **{"openrouter/x/y:free": priced(0, 0)}, openai__mistake=priced(0, 0)
    )
    fetched = await fetch_prices(sources(url, "/p"), out, NOW)
    assert set(refusals(fetched)) == {"openai/mistake"}
    book = load_prices(out, bundled=False)
    assert book["openai/gift"].cost(MILLION) == 0
    assert book["openrouter/x/y:free"].cost(MILLION) == 0
    assert book.get("openai/mistake") is None


# --- the book ------------------------------------------------------------------------------------------------------------


def test_without_a_file_the_bundled_prices_hold() -> None:
    found = load_prices().get("openai/gpt-4o")
    assert found is not None
    assert (found.source, found.updated_at, found.price.cost(MILLION)) == (bundled_source(), None, Decimal("12.5"))


async def test_the_files_prices_hold_over_the_bundled_ones_and_those_that_it_lacks_are_bundled(
    site: tuple[dict[str, Any], str], tmp_path: Path
) -> None:
    pages, url = site
    pages["/p"] = own(openai__gpt4=priced(3, 4), **{"openai/gpt-4o": priced(3, 4)})
    out = tmp_path / "prices.json"
    await fetch_prices(sources(url, "/p"), out, NOW)
    book = load_prices(out)
    assert book["openai/gpt-4o"].cost(MILLION) == 7
    assert book["anthropic/claude-haiku-4-5"].cost(MILLION) == 6


def test_prices_of_the_config_hold_over_all() -> None:
    book = load_prices(None, {"openai/gpt-4o": {"input": 1, "output": 0.5}, "openai/mine": "openai/gpt-4o-mini"})
    assert book["openai/gpt-4o"].cost(MILLION) == Decimal("1.5")
    mine = book.get("openai/mine")
    assert mine is not None
    assert (mine.matched_name, mine.priced_as) == ("openai/gpt-4o-mini", "openai/gpt-4o-mini")
    assert load_prices(None, {"a/b": {"priced_as": "openai/gpt-4o"}})["a/b"].cost(MILLION) == Decimal("12.5")


def test_every_price_of_the_config_that_cannot_be_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        load_prices(None, {"openai/a": {"input": -1}, "openai/b": {"speed": 3}})
    assert "openai/a" in caught.value.message
    assert "speed" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"models": 3}', b"\xff"])
def test_a_file_that_is_no_price_file_leaves_the_bundled_prices_and_a_word(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pricing-cache.json"
    path.write_bytes(content)
    book = load_prices(path)
    assert book["openai/gpt-4o"].cost(MILLION) == Decimal("12.5")
    (problem,) = book.problems
    assert "podium prices fetch" in problem


def test_a_file_that_cannot_be_read_leaves_the_bundled_prices_and_a_word(tmp_path: Path) -> None:
    book = load_prices(tmp_path)
    assert "Is a directory" in book.problems[0]
    assert book["openai/gpt-4o"].cost(MILLION) == Decimal("12.5")


def test_prices_that_are_fetched_for_the_first_time_while_a_process_runs_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podium.engine.books._LOOK_EVERY_S", 0.0)
    config = tmp_path / "podium.yaml"
    config.write_text("providers: {openai: {api_key: x}}\n")
    models = load_models(config)
    assert models.pricing["openai/gpt-4o"].cost(MILLION) == Decimal("12.5")
    (tmp_path / "pricing-cache.json").write_text('{"models": {"openai/gpt-4o": {"inputPerMillion": 1, "outputPerMillion": 1}}}')
    assert models.pricing["openai/gpt-4o"].cost(MILLION) == 2


def test_a_row_that_was_spoilt_by_hand_is_passed_over_with_a_word(tmp_path: Path) -> None:
    path = tmp_path / "pricing-cache.json"
    path.write_text(
        '{"models": {"openai/a": {"inputPerMillion": -1}, "openai/b": {"inputPerMillion": 1, "outputPerMillion": 1}}}'
    )
    book = load_prices(path, bundled=False)
    assert book.get("openai/a") is None
    assert book["openai/b"].cost(MILLION) == 2
    assert "openai/a" in book.problems[0]


def test_a_provider_may_give_its_models_other_names() -> None:
    provider = Provider(
        name="openai-eu",
        kind="openai",
        dialect="openai_chat",
        base_url="http://x",
        models={"fast": ModelEntry(upstream="gpt-4o-mini"), "ours": ModelEntry(upstream="ft-9", priced_as="openai/gpt-4o")},
    )
    book = load_prices(None, {"openai-eu/set": {"input": 5, "output": 5}})
    found = [find_target(book, provider, model) for model in ("fast", "ours", "gpt-4o", "set", "unknown")]
    assert [each and each.price.cost(MILLION) for each in found] == [
        Decimal("0.75"),
        Decimal("12.5"),
        Decimal("12.5"),
        10,
        None,
    ]


@pytest.mark.parametrize("name", ["google", "x-ai", "house"])
def test_a_provider_may_have_a_name_that_price_data_gives_to_another(name: str) -> None:
    provider = Provider(name=name, kind="custom", dialect="openai_chat", base_url="http://127.0.0.1/v1")
    book = load_prices(None, {f"{name}/large": {"input": 1, "output": 2}}, bundled=False)
    found = find_target(book, provider, "large")
    assert found is not None
    assert found.price.cost(MILLION) == 3


def test_many_threads_get_the_same_rows_of_the_bundled_data() -> None:
    layer = BundledLayer()
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(layer.rows("openai"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(rows) for rows in got}) == 1
    assert "gpt-4o" in got[0]
