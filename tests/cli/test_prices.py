"""`podium prices`, as a person and as cron run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.conftest import MODULE, Run


class Prices(ThreadingHTTPServer):
    """A list of prices on a port of this machine."""

    page: bytes = b"{}"
    status = 200
    served = 0

    def say(self, **models: Any) -> None:
        """Serve these rows from now on."""
        self.page = json.dumps({"models": {name.replace("__", "/"): row for name, row in models.items()}}).encode()

    @property
    def url(self) -> str:
        """Where the list is."""
        return f"http://127.0.0.1:{self.server_port}/prices.json"


class _Page(BaseHTTPRequestHandler):
    server: Prices

    def do_GET(self) -> None:
        self.server.served += 1
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.page)

    def log_message(self, *words: object) -> None:
        """Keep quiet."""


@pytest.fixture
def listed() -> Iterator[Prices]:
    with Prices(("127.0.0.1", 0), _Page) as server:
        server.say(openai__mine={"inputPerMillion": 1, "outputPerMillion": 2})
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(podium: Run, listed: Prices, *more: str) -> Any:
    return podium("prices", "fetch", "--source", "bundled", "--source", listed.url, *more)


# --- fetch -----------------------------------------------------------------------------------------------------------


def test_fetch_writes_the_file_of_the_guide_and_says_how_much(podium: Run, here: Path, listed: Prices) -> None:
    ran = fetch(podium, listed)
    assert ran.code == 0
    assert "written for the first time" in ran.out
    models = json.loads((here / "pricing-cache.json").read_text())["models"]
    assert models["openai/mine"]["inputPerMillion"] == 1
    assert models["openai/gpt-4o"]["cachedInputPerMillion"] == 1.25


def test_fetch_says_what_changed_and_from_what_to_what(podium: Run, listed: Prices) -> None:
    fetch(podium, listed)
    listed.say(openai__mine={"inputPerMillion": 1, "outputPerMillion": 3}, openai__new={"inputPerMillion": 5})
    ran = fetch(podium, listed)
    assert "1 added, 0 removed, 1 changed" in ran.out
    assert "openai/mine  outputPerMillion 2 -> 3" in ran.out
    assert "+ openai/new  inputPerMillion 5" in ran.out


def test_fetch_as_json_says_the_same(podium: Run, listed: Prices) -> None:
    first = json.loads(fetch(podium, listed, "--json").out)
    assert (first["first"], first["path"]) == (True, "pricing-cache.json")
    listed.say(openai__mine={"inputPerMillion": 0.1, "outputPerMillion": "2"}, openai__good={"inputPerMillion": 1})
    second = json.loads(fetch(podium, listed, "--json").out)
    assert second["changed"] == []
    assert "no number" in second["sources"][0]["refused"]["openai/mine"]


def test_a_source_that_fails_is_told_and_the_exit_code_is_0_as_long_as_another_answers(podium: Run, listed: Prices) -> None:
    fetch(podium, listed)
    listed.status = 500
    ran = fetch(podium, listed, "--quiet")
    assert ran.code == 0
    assert ran.out == ""
    assert "status 500" in ran.err
    assert "1 price of it kept" in ran.err


def test_where_nothing_can_be_used_the_exit_code_is_1_and_the_file_stays(podium: Run, here: Path) -> None:
    (here / "pricing-cache.json").write_text('{"models": {}}')
    (here / "mine.json").write_text("[]")
    ran = podium("prices", "fetch", "--only", "--source", "mine.json")
    assert ran.code == 1
    assert "stays as it was" in ran.err
    assert (here / "pricing-cache.json").read_text() == '{"models": {}}'
    assert podium("prices", "fetch", "--only").code == 2


def test_fetch_every_goes_on_until_it_is_told_to_stop(here: Path, listed: Prices) -> None:
    running = subprocess.Popen(
        [*MODULE, "prices", "fetch", "-s", "bundled", "-s", listed.url, "--every", "1m", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )
    assert running.stdout is not None
    assert json.loads(running.stdout.readline())["first"]
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=20)
    assert (running.returncode, out, err) == (0, b"", b"")
    assert (here / "pricing-cache.json").exists()


def test_fetch_every_stops_at_once_in_the_middle_of_a_fetch(here: Path, listed: Prices) -> None:
    holding = threading.Event()
    waiting = threading.Event()

    class Slow(_Page):
        def do_GET(self) -> None:
            waiting.set()
            holding.wait(30)

    listed.RequestHandlerClass = Slow
    running = subprocess.Popen(
        [*MODULE, "prices", "fetch", "-s", "bundled", "-s", listed.url, "--every", "24h"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )
    try:
        assert waiting.wait(30)
        running.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = running.communicate(timeout=20)
    finally:
        holding.set()
    assert (running.returncode, err) == (0, b"")
    assert time.monotonic() - began < 15
    assert not (here / "pricing-cache.json").exists()


@pytest.mark.parametrize("every", ["24", "1s", "soon", "0h", "-1h"])
def test_a_time_that_is_none_is_refused(podium: Run, every: str) -> None:
    ran = podium("prices", "fetch", f"--every={every}", "--source", "bundled")
    assert ran.code == 2
    assert "24h" in ran.err


# --- show ------------------------------------------------------------------------------------------------------------


def test_show_tells_rates_source_and_version(podium: Run, here: Path) -> None:
    ran = podium("prices", "show", "openai/gpt-4o")
    assert ran.code == 0
    for words in ("$2.5", "$10", "$1.25", "read from a cache", "genai-prices", "bundled", "known by this name", "priority"):
        assert words in ran.out


def test_show_tells_tiers_periods_and_which_holds_now(podium: Run, here: Path) -> None:
    assert "above 200,000 tokens in" in podium("prices", "show", "anthropic/claude-sonnet-4-5").out
    shown = podium("prices", "show", "deepseek/deepseek-v4-pro").out
    assert "daily 01:00 to 04:00 UTC" in shown
    assert shown.count("(now)") == 1


def test_show_marks_a_name_that_was_normalised(podium: Run, here: Path) -> None:
    ran = podium("prices", "show", "openai/gpt-4o-2031-01-01", "--json")
    shown = json.loads(ran.out, parse_float=Decimal)
    assert (shown["matched_name"], shown["normalised"], shown["via"]) == ("openai/gpt-4o", "date", "normalised")
    assert shown["price"]["inputPerMillion"] == Decimal("2.5")
    assert "a guess" in podium("prices", "show", "openai/gpt-4o-2031-01-01").out


def test_show_takes_the_file_and_tells_when_its_source_was_asked(podium: Run, listed: Prices) -> None:
    fetch(podium, listed)
    ran = podium("prices", "show", "openai/mine")
    assert listed.url in ran.out.replace("\n", "")
    assert time.strftime("%Y-%m-%d", time.gmtime()) in ran.out


def test_show_of_an_unknown_model_exits_1_and_names_near_ones(podium: Run, here: Path) -> None:
    ran = podium("prices", "show", "openai/gpt-4o-minni")
    assert ran.code == 1
    assert "openai/gpt-4o-mini" in ran.err
    bare = json.loads(podium("prices", "show", "gpt-4o", "--json").out)
    assert bare["error"]["code"] == "unpriced"
    assert "openai/gpt-4o" in bare["error"]["hint"]


def test_show_goes_by_the_providers_of_the_config(podium: Run, here: Path) -> None:
    (here / "podium.yaml").write_text(
        "providers:\n"
        "  ours: {kind: openai, api_key: x, models: {fast: {upstream: ft-9, priced_as: openai/gpt-4o-mini}}}\n"
        "tiers: {fast: {strategy: first, models: [ours/fast]}}\n"
    )
    shown = json.loads(podium("prices", "show", "ours/fast", "--json").out)
    assert (shown["matched_name"], shown["priced_as"]) == ("openai/gpt-4o-mini", "openai/gpt-4o-mini")


def test_show_takes_the_price_that_the_config_says_and_the_file_that_it_names(podium: Run, here: Path) -> None:
    (here / "podium.yaml").write_text(
        "pricing_cache: deep/prices.json\nproviders: {openai: {api_key: x}}\nprices: {openai/mine: {input: 0.075, output: 3}}\n"
    )
    assert podium("prices", "fetch", "--source", "bundled").code == 0
    assert (here / "deep" / "prices.json").exists()
    shown = json.loads(podium("prices", "show", "openai/mine", "--json").out, parse_float=Decimal)
    assert (shown["source"], shown["price"]["inputPerMillion"]) == ("config", Decimal("0.075"))


def test_show_has_no_control_characters_and_colours_only_where_wanted(terminal: Run, podium: Run, here: Path) -> None:
    (here / "pricing-cache.json").write_text(
        '{"models": {"openai/x": {"inputPerMillion": 1, "outputPerMillion": 1, "source": "a\\u001b]52;c;aGk=\\u0007b"}}}'
    )
    assert "\x1b" not in podium("prices", "show", "openai/x").out
    coloured, plain = terminal("prices", "show", "openai/x"), terminal("prices", "show", "openai/x", NO_COLOR="1")
    assert "\x1b]52" not in coloured.out
    assert "\x1b[1m" in coloured.out
    assert "\x1b[3" not in plain.out


# --- check -----------------------------------------------------------------------------------------------------------

CONFIG = """\
providers: {{openai: {{api_key: x}}, local: {{}}}}
tiers: {{fast: {{strategy: fallback, models: [{models}]}}}}
"""


def configure(here: Path, *models: str) -> None:
    (here / "podium.yaml").write_text(CONFIG.format(models=", ".join(models)))


def write(here: Path, days_old: float, **rates: float) -> None:
    instant = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - days_old * 86_400))
    row = {"inputPerMillion": 1, "outputPerMillion": 2, **rates, "updatedAt": instant, "source": "openrouter"}
    (here / "pricing-cache.json").write_text(json.dumps({"models": {"openai/gpt-4o": row}}))


def test_check_of_fresh_prices_and_local_models_finds_nothing(podium: Run, here: Path) -> None:
    configure(here, "openai/gpt-4o", "local/gemma")
    write(here, 1)
    ran = podium("prices", "check", "--strict")
    assert ran.code == 0
    assert "all is well" in ran.out


@pytest.mark.parametrize(
    ("model", "days", "rates", "fault"),
    [
        ("openai/gpt-nonsense", 1, {}, "missing"),
        ("openai/gpt-4o", 9, {}, "stale"),
        ("openai/gpt-4o", 1, {"inputPerMillion": 0, "outputPerMillion": 0}, "free"),
    ],
)
def test_check_exits_1_for_a_price_that_makes_bills_wrong(
    podium: Run, here: Path, model: str, days: float, rates: dict[str, float], fault: str
) -> None:
    configure(here, model)
    write(here, days, **rates)
    ran = podium("prices", "check", "--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    assert [(each["name"], each["fault"], each["severity"]) for each in document["findings"]] == [(model, fault, "error")]
    assert podium("prices", "check").code == 1


@pytest.mark.parametrize(("model", "fault"), [("openai/gpt-4o-2031-01-01", "guessed"), ("openai/gpt-4o-mini", "bundled")])
def test_check_notes_what_is_doubtful_and_fails_for_it_only_where_strict(
    podium: Run, here: Path, model: str, fault: str
) -> None:
    configure(here, model)
    write(here, 1)
    ran = podium("prices", "check", "--json")
    assert ran.code == 0
    assert [each["fault"] for each in json.loads(ran.out)["findings"]] == [fault]
    assert podium("prices", "check", "--strict").code == 1


def test_check_looks_at_the_arms_of_rollouts_and_says_where_priced_as_leads_nowhere(podium: Run, here: Path) -> None:
    ours = {"ours": {"priced_as": "openai/nobody-sells-this"}}
    rollout = {"match": ["chat"], "legacy": "openai/ours", "candidate": "openai/gpt-nonsense"}
    providers = {"openai": {"api_key": "k", "models": ours}}
    (here / "podium.yaml").write_text(yaml.safe_dump({"providers": providers, "rollouts": {"move": rollout}}))
    found = {each["name"]: each["message"] for each in json.loads(podium("prices", "check", "--json").out)["findings"]}
    assert found["openai/gpt-nonsense"].startswith("it has no price")
    assert found["openai/ours"].startswith("it is priced as openai/nobody-sells-this, of which no price is known")


def test_check_takes_the_age_that_is_asked_for(podium: Run, here: Path) -> None:
    configure(here, "openai/gpt-4o")
    write(here, 2)
    assert podium("prices", "check").code == 0
    assert podium("prices", "check", "--max-age", "36h").code == 1


def test_check_says_that_the_file_is_broken(podium: Run, here: Path) -> None:
    configure(here, "openai/gpt-4o")
    (here / "pricing-cache.json").write_text("{")
    ran = podium("prices", "check")
    assert ran.code == 1
    assert "no price file" in ran.out
