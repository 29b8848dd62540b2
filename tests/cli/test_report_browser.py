"""The report of `podium compare` in a real browser: it asks nobody for anything, reads well, and tells no other figures."""

from __future__ import annotations

import json
import shutil
import statistics
import threading
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from typer.testing import CliRunner

from cli.test_batch import read, write_prompts
from podium.cli import stage
from podium.cli.console import seconds
from podium.cli.main import app
from podium.routing.compare_summary import dollars

HOSTILE = "</script></style><img src=x onerror=\"window.pwned=1\"><svg onload='window.pwned=1'>& <b>bold</b>"
LOOKS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]


class Served(SimpleHTTPRequestHandler):
    """Serves files, and keeps what was asked for."""

    def __init__(self, *given: Any, asked: list[str], **named: Any) -> None:
        self.asked = asked
        super().__init__(*given, **named)

    def log_request(self, *_: Any) -> None:
        self.asked.append(self.path)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")  # else a page that was seen before is asked for only at times
        super().end_headers()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two reports: of the demo's prompts, and of hostile texts."""
    folder = tmp_path_factory.mktemp("reports")
    simulated = stage.make_sim()
    with simulated as sim:
        config = stage.write_config(folder, sim.url)
        questions = stage.__file__.replace("stage.py", "questions.jsonl")
        sim.set("openai/gpt-4o", accuracy=0.9)
        sim.set("groq/llama-3.3-70b-versatile", accuracy=0.7, failure_rate=0.1, failure_status=400)
        compare(config, questions, folder / "demo.jsonl", "groq/llama-3.3-70b-versatile", "--category", "route")
        sim.set("groq/llama-3.3-70b-versatile", answer=HOSTILE, failure_rate=0.0)
        prompts = [{"prompt": f"{HOSTILE} {number}", "category": HOSTILE, "id": f"{HOSTILE} {number}"} for number in range(3)]
        write_prompts(folder / "hostile_prompts.jsonl", *prompts)
        compare(config, str(folder / "hostile_prompts.jsonl"), folder / "hostile.jsonl", "groq/llama-3.3-70b-versatile")
    return folder


def compare(config: Path, prompts: str, out: Path, new: str, *more: str) -> None:
    report = str(out.with_suffix(".html"))
    command = ["compare", prompts, "--old", "openai/gpt-4o", "--new", new, "-o", str(out), "--report", report, *more]
    ran = CliRunner().invoke(app, ["--config", str(config), *command])
    assert ran.exit_code == 0, ran.output


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Where the reports are served, and what was asked for there."""
    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Served, asked=asked, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("there is no chromium with its chromedriver on this machine (Debian: apt install chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    folder = tmp_path_factory.mktemp("browser")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


def look(browser: webdriver.Chrome, address: str, scheme: str = "light", width: int = 1280) -> None:
    """Open a page in a window of a width, under a colour scheme."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(address)


def run(browser: webdriver.Chrome, script: str) -> Any:
    return browser.execute_script(script)


def requested(browser: webdriver.Chrome) -> list[str]:
    """What the browser has asked for since this was last looked at."""
    entries = [json.loads(each["message"])["message"] for each in browser.get_log("performance")]  # type: ignore[no-untyped-call]
    return [each["params"]["request"]["url"] for each in entries if each["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("page", ["demo.html", "hostile.html"])
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_the_page_asks_for_nothing_but_itself_and_has_no_error(
    browser: webdriver.Chrome, site: tuple[str, list[str]], page: str, scheme: str, width: int
) -> None:
    address, asked = site
    requested(browser)
    asked.clear()
    browser.get_log("browser")  # type: ignore[no-untyped-call]
    look(browser, f"{address}/{page}", scheme, width)
    run(browser, "document.getElementById('search').dispatchEvent(new Event('input', {bubbles: true}))")
    assert {url for url in requested(browser) if not url.startswith("data:")} == {f"{address}/{page}"}
    assert asked == [f"/{page}"]
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("page", ["demo.html", "hostile.html"])
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_axe_finds_nothing_that_keeps_anybody_out(
    browser: webdriver.Chrome, site: tuple[str, list[str]], page: str, scheme: str, width: int
) -> None:
    look(browser, f"{site[0]}/{page}", scheme, width)
    # Over the protocol, for the page's policy lets nobody put a script into it.
    axe = resources.files("axe_core_python").joinpath("axe.min.js").read_text("utf-8")
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
    found = browser.execute_cdp_cmd(
        "Runtime.evaluate",
        {"expression": "axe.run().then(found => JSON.stringify(found))", "awaitPromise": True, "returnByValue": True},
    )
    checked = json.loads(found["result"]["value"])
    faults = [(each["id"], node["target"], node["failureSummary"]) for each in checked["violations"] for node in each["nodes"]]
    assert faults == []
    assert {"color-contrast", "region", "heading-order", "label", "select-name"} <= {each["id"] for each in checked["passes"]}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_verdict_and_its_picture_are_on_the_first_screen(
    browser: webdriver.Chrome, site: tuple[str, list[str]], scheme: str
) -> None:
    look(browser, f"{site[0]}/demo.html", scheme)
    assert run(browser, "return document.querySelector('h1').getBoundingClientRect().bottom") < 300
    cards = run(browser, "return [...document.querySelectorAll('.card')].map(card => card.getBoundingClientRect().bottom)")
    assert len(cards) == 4
    assert max(cards) < 500
    titles = [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".card h2")]
    assert [title.partition("\n")[0] for title in titles][:3] == ["Right answers", "Failures", "Time at the median"]


@pytest.mark.parametrize("page", ["demo.html", "hostile.html"])
def test_a_phone_scrolls_down_only(browser: webdriver.Chrome, site: tuple[str, list[str]], page: str) -> None:
    look(browser, f"{site[0]}/{page}", width=390)
    assert run(browser, "return document.documentElement.scrollWidth") <= 390


def figures_of(browser: webdriver.Chrome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(browser, "return document.getElementById('figures').textContent"))
    return found


def test_the_figures_are_those_of_the_file_of_results(
    browser: webdriver.Chrome, site: tuple[str, list[str]], folder: Path
) -> None:
    """They are computed here by other means: Python's own statistics, over the lines of the file."""
    look(browser, f"{site[0]}/demo.html")
    figures, results = figures_of(browser), read(folder / "demo.jsonl")
    assert figures["n"] == len(results) == 30
    for side in ("old", "new"):
        found, answers = figures[side], [each[side] for each in results if each[side]["error"] is None]
        assert found["answered"] == len(answers)
        assert found["failed"] == 30 - len(answers)
        assert found["right"] == sum(each["right"][side] is True for each in results if "right" in each)
        assert found["output_tokens"] == sum(each[side]["output_tokens"] or 0 for each in results)
        assert Decimal(found["cost_usd"]) == sum(Decimal(each[side]["cost_usd"]) for each in results)
        times, costs = [each["duration_s"] for each in answers], [float(each["cost_usd"]) * 1000 for each in answers]
        for values, name in ((times, "duration_s"), (costs, "cost_of_1000_usd")):
            parts = statistics.quantiles(values, n=20, method="inclusive")
            wanted = [len(values), min(values), parts[9], parts[18], max(values), statistics.fmean(values)]
            assert [found[name][each] for each in ("n", "least", "p50", "p95", "most", "mean")] == pytest.approx(wanted)
    assert figures["same"] == sum(each["same"] is True for each in results)
    assert figures["different"] == sum(each["same"] is False for each in results)
    assert figures["incomparable"] == sum(each["same"] is None for each in results)
    for each in figures["categories"]:
        own = [result["same"] for result in results if result["category"] == each["name"]]
        assert (each["same"], each["different"], each["incomparable"]) == tuple(own.count(kind) for kind in (True, False, None))
    kinds = [each[side]["error_code"] for each in results for side in ("old", "new") if each[side]["error"] is not None]
    assert sorted(kinds) == sorted(each["kind"] for each in figures["failures"] for _ in range(each["old"] + each["new"]))


def test_the_figures_that_are_seen_are_those_of_its_json(browser: webdriver.Chrome, site: tuple[str, list[str]]) -> None:
    look(browser, f"{site[0]}/demo.html")
    figures, seen = figures_of(browser), browser.find_elements(By.CSS_SELECTOR, "[data-figure]")
    assert len(seen) > 30
    for element in seen:
        name = str(element.get_attribute("data-figure"))
        value: Any = figures
        for key in name.split("."):
            value = value[key]
        text = element.text
        if name.endswith((".right", ".failed")):
            assert text.partition(" of ")[0] == f"{value:,}", name
        elif "usd" in name and not name.endswith(".n"):
            assert text == dollars(Decimal(str(value))), name
        elif name.endswith("_s") or (".duration_s." in name and not name.endswith(".n")):
            assert text == seconds(value), name
        else:
            assert text == f"{value:,}", name


def test_hostile_texts_are_shown_and_do_nothing(browser: webdriver.Chrome, site: tuple[str, list[str]]) -> None:
    look(browser, f"{site[0]}/hostile.html")
    assert run(browser, "return window.pwned ?? null") is None
    assert browser.find_elements(By.CSS_SELECTOR, "img, article b:not(.chip)") == []
    articles = browser.find_elements(By.TAG_NAME, "article")
    assert len(articles) == 3
    for number, article in enumerate(articles):
        assert article.find_element(By.CSS_SELECTOR, ".prompt").text == f"{HOSTILE} {number}"
        assert article.find_elements(By.CSS_SELECTOR, ".answer")[1].text == HOSTILE
    assert figures_of(browser)["categories"][0]["name"] == HOSTILE


def test_the_policy_of_the_page_lets_nothing_out(browser: webdriver.Chrome, site: tuple[str, list[str]]) -> None:
    """Even markup that got into the page somehow could not tell anybody that it is read."""
    address, asked = site
    look(browser, f"{address}/hostile.html")
    asked.clear()
    run(
        browser,
        """
        const markup = "<img src=/a.png><iframe src=/b></iframe><p style='background: url(/c)'>x";
        document.body.insertAdjacentHTML("beforeend", markup);
        const script = document.createElement("script");
        script.textContent = "window.pwned = 1";
        document.body.append(script);
        fetch("/d").catch(() => null);
        """,
    )
    told = browser.get_log("browser")  # type: ignore[no-untyped-call]
    refused = {each["message"].partition("Content Security Policy")[1] for each in told}
    assert refused == {"Content Security Policy"}
    assert asked == []
    assert run(browser, "return window.pwned ?? null") is None


def test_answers_can_be_searched_filtered_and_ordered(
    browser: webdriver.Chrome, site: tuple[str, list[str]], folder: Path
) -> None:
    look(browser, f"{site[0]}/demo.html")
    results = read(folder / "demo.jsonl")
    found = browser.find_element(By.ID, "found")

    def shown() -> list[str]:
        return [each.find_element(By.CSS_SELECTOR, ".prompt").text for each in browser.find_elements(By.TAG_NAME, "article") if
                each.is_displayed()]  # fmt: skip

    every = [each["prompt"] for each in results if each["same"] is not True]
    assert shown() == every
    assert found.text == f"{len(every)} of {len(every)} shown"
    Select(browser.find_element(By.ID, "category")).select_by_visible_text("race")
    assert shown() == [each["prompt"] for each in results if each["same"] is not True and each["category"] == "race"]
    Select(browser.find_element(By.ID, "category")).select_by_visible_text("all")
    browser.find_element(By.ID, "search").send_keys("SKY blue")
    assert shown() == ["Explain in two sentences why the sky is blue."]
    assert found.text == f"1 of {len(every)} shown"
    browser.find_element(By.ID, "search").clear()
    Select(browser.find_element(By.ID, "sort")).select_by_visible_text("least alike first")
    alike = [each["similarity"] if each["similarity"] is not None else -1 for each in results if each["same"] is not True]
    ordered = run(browser, "return [...document.querySelectorAll('article')].map(article => Number(article.dataset.alike))")
    assert ordered == pytest.approx(sorted(alike), abs=1e-5)


def test_differences_are_marked_by_more_than_a_colour(browser: webdriver.Chrome, site: tuple[str, list[str]]) -> None:
    look(browser, f"{site[0]}/demo.html")
    style = "return getComputedStyle(document.querySelector('article {}')).textDecorationLine"
    assert run(browser, style.format("del")) == "line-through"
    assert run(browser, style.format("ins")) == "underline"
