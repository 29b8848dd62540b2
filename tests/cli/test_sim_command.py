import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from cli.conftest import MODULE, Run


class Served:
    def __init__(self, *arguments: str) -> None:
        command = [*MODULE, "sim", "--port", "0", *arguments]
        self.child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
        assert self.child.stdout is not None
        self.welcome = ""
        while "curl" not in self.welcome:
            line = self.child.stdout.readline()
            assert line, "it ended"
            self.welcome += line
        found = re.search(r"http://127\.0\.0\.1:\d+", self.welcome)
        assert found
        self.url = found[0]

    def ask(self, model: str, prompt: str) -> tuple[int, str]:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]}).encode()
        headers = {"authorization": "Bearer any", "content-type": "application/json"}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{self.url}/openai/v1/chat/completions", data=body, headers=headers)
            ) as answer:
                return answer.status, json.load(answer)["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def end(self, how: signal.Signals) -> tuple[int, str, str]:
        self.child.send_signal(how)
        out, err = self.child.communicate(timeout=20)
        return self.child.returncode, out, err


@pytest.fixture
def serve(here: object) -> Iterator[Callable[..., Served]]:
    served: list[Served] = []

    def begin(*arguments: str) -> Served:
        served.append(Served(*arguments))
        return served[-1]

    yield begin
    for each in served:
        if each.child.poll() is None:
            each.child.kill()
            each.child.communicate()


def test_the_sim_answers_fails_as_told_and_counts_until_ctrl_c(serve: Callable[..., Served]) -> None:
    sim = serve("--model", "gpt-4o=answer=forty two", "--fault", "gpt-bad=503", "--fault", "gpt-busy=429")
    for words in (f"{sim.url}/openai/v1", f"{sim.url}/anthropic", "OpenAI(", "Anthropic(", "podium.yaml"):
        assert words in sim.welcome
    assert sim.ask("gpt-4o", "Hi") == (200, "forty two")
    assert sim.ask("gpt-4o-mini", "What is the capital of France?") == (200, "Paris")
    assert sim.ask("gpt-bad", "Hi")[0] == 503
    assert sim.ask("gpt-busy", "Hi")[0] == 429
    code, out, err = sim.end(signal.SIGINT)
    assert (code, err) == (0, "")
    assert "4 requests: 0 running, 2 finished, 2 refused" in out
    assert "openai/gpt-4o-mini" in out


def test_a_sigterm_ends_the_sim_as_ctrl_c_does(serve: Callable[..., Served]) -> None:
    code, out, err = serve().end(signal.SIGTERM)
    assert (code, err) == (0, "")
    assert "0 requests" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "gpt-4o"], "NAME=SETTING=VALUE"),
        (["--model", "gpt-4o=fast"], "SETTING=VALUE"),
        (["--model", "gpt-4o=speed=3"], "tokens_per_s"),
        (["--model", "gpt-4o=latency_s=slow"], "latency_s"),
        (["--model", "gpt-4o=accuracy=7"], "accuracy"),
        (["--fault", "gpt-4o"], "NAME=FAULT"),
        (["--fault", "gpt-4o=sulk"], "stall"),
        (["--fault", "gpt-4o=503@1..2"], "NAME=FAULT"),
        (["--fault", "gpt-4o=503@7"], "failure_rate"),
        (["--port", "99999999"], "--port"),
    ],
)
def test_wrong_settings_exit_2_and_say_what_is_right(podium: Run, arguments: list[str], words: str) -> None:
    ran = podium("sim", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


def test_a_port_that_is_taken_is_a_clear_error(podium: Run, serve: Callable[..., Served]) -> None:
    sim = serve()
    ran = podium("sim", "--port", sim.url.rpartition(":")[2])
    assert ran.code == 2
    assert "--port" in ran.err or "port" in ran.err
