"""The service of `examples/legacy_app`, moved as the tutorial says: its patches, its commands, its questions.

Theory. The tutorial is the source: what it shows is applied to a copy of the service, in its order, and the service runs as a
process of its own against simulated providers. A test then asks it as many users and looks at whom the providers served.

Rules.
- A section is performed once, block by block: files are written, patches applied, commands of `podium` run, `curl`s asked.
- `podium sim` is the sim of the test: its settings change, its process does not.
- Where a section changes what the service has loaded, the service is started anew; by a command it never is.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from docs.blocks import ROOT, Block, blocks, commands, compare, read
from podium.sim import Sim

TUTORIAL = "docs/tutorial.md"
QUESTION = "What is the capital of Mongolia?"
ANSWER = '{"answer": "Ulaanbaatar"}'
_IGNORED = {"pip", "cp", "cd", "export", "python"}
"""What a reader does to prepare, and `Desk` does in its own way."""
_LONGEST_START_S = 60.0
_LONGEST_WAIT_S = 30.0


def sections() -> dict[str, list[Block]]:
    """The tutorial's blocks by the number of their section; "0" is what stands before the first."""
    number, found = "0", dict[str, list[Block]]()
    places = {line: text for line, text in enumerate(read(TUTORIAL).splitlines(), 1) if text.startswith("## ")}
    waiting = blocks(TUTORIAL)
    for line in [*sorted(places), sys.maxsize]:
        found[number] = [block for block in waiting if block.line < line]
        waiting = [block for block in waiting if block.line >= line]
        if line in places:
            number = (re.match(r"## (\d+)\. ", places[line]) or ("", number))[1]
    return found


class Desk:
    """The service in a folder of its own."""

    def __init__(self, folder: Path, sim: Sim) -> None:
        self.folder = folder
        self.sim = sim
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder.parent / "desk.log"
        self._port = 0
        self._performed: list[str] = []
        self._slow = ""
        shutil.copytree(ROOT / "examples" / "legacy_app", folder, ignore=shutil.ignore_patterns("__pycache__", ".podium"))
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PODIUM_", "OPENAI_", "ANTHROPIC_"))},
            "OPENAI_BASE_URL": sim.base_url("openai"),
            "OPENAI_API_KEY": "any",
            "ANTHROPIC_BASE_URL": sim.base_url("anthropic"),
            "ANTHROPIC_API_KEY": "any",
            "COLUMNS": "160",
            "NO_COLOR": "1",
        }

    # --- the tutorial ---------------------------------------------------------------------------------------------------

    def go_to(self, section: str) -> None:
        """Perform the tutorial up to a section, and that one too."""
        for number, found in sections().items():
            if number > section or number in self._performed:
                continue
            self._performed.append(number)
            for block in found:
                try:
                    self._perform(block)
                except Exception as error:
                    error.add_note(f"in the block at {block.place}")
                    raise
        self._running()

    def _perform(self, block: Block) -> None:
        if block.language == "diff":
            self.stop()
            self._run(["git", "apply", "--recount", "-"], block.text + "\n")
        elif block.file:
            self.stop()
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text + "\n", "utf-8")
        elif block.language == "console":
            give_up_at = time.monotonic() + (_LONGEST_WAIT_S if block.mark == "soon" else 0)
            while not self._shown(block, must=time.monotonic() >= give_up_at):
                time.sleep(0.2)
        elif block.language == "bash":
            programs = {command.split()[0] for command, _ in commands(block)}
            assert programs <= _IGNORED | {"podium"}, f"{block.place} needs {programs}"
        else:
            raise AssertionError(f"{block.place}: nothing is known to do with this block")

    def _shown(self, block: Block, *, must: bool) -> bool:
        """Run commands, and return whether they show what they are said to."""
        try:
            for command, said in commands(block):
                compare(said, self._command(shlex.split(command)).strip())
        except AssertionError:
            if must:
                raise
            return False
        return True

    def _command(self, words: list[str]) -> str:
        match words:
            case ["podium", "sim"]:
                self.sim.unset(self._slow)
                return ""
            case ["podium", "sim", "--model", behaviour]:
                self._slow, setting, value = behaviour.split("=")
                self.sim.set(self._slow, **{setting: float(value)})
                return ""
            case ["python", "ask_many.py", number]:
                return self.ask_many(int(number))
            case ["podium", *rest]:
                return self.podium(*rest)
            case ["curl", url, "-d", data]:
                assert url.startswith("localhost:8080/")
                return self.post(url.removeprefix("localhost:8080"), json.loads(data))
            case ["rm", name]:
                self.stop()
                (self.folder / name).unlink()
                return ""
        raise AssertionError(f"the tutorial runs {words}, which is not known here")

    def podium(self, *words: str) -> str:
        """Run a command of Podium's in the service's folder."""
        return self._run([sys.executable, "-m", "podium", *words])

    def usage(self, *by: str) -> list[dict[str, Any]]:
        """Rows of the ledger."""
        rows: list[dict[str, Any]] = json.loads(self.podium("usage", "--by", ",".join(by), "--json"))["rows"]
        return rows

    def _run(self, command: list[str], given: str = "") -> str:
        done = subprocess.run(command, cwd=self.folder, env=self._environment, input=given, text=True, capture_output=True)
        assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
        return done.stdout

    # --- the service ----------------------------------------------------------------------------------------------------

    @property
    def process(self) -> int | None:
        """The process's id; another one: it was started anew."""
        return None if self._process is None else self._process.pid

    def _running(self) -> None:
        if self._process is not None:
            return
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "desk", "--port", str(self._port)]
            self._process = subprocess.Popen(command, cwd=self.folder, env=self._environment, stdout=log, stderr=log)
        give_up_at = time.monotonic() + _LONGEST_START_S
        while True:
            assert self._process.poll() is None, f"the service ended:\n{self.log()}"
            assert time.monotonic() < give_up_at, f"the service does not begin:\n{self.log()}"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.05)

    def stop(self) -> None:
        """End the service as a deployment would, and see that it ends well."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            assert process.wait(20) == 0, f"the service ended badly:\n{self.log()}"

    def log(self) -> str:
        """What the service has written."""
        return self._log.read_text("utf-8")

    def post(self, path: str, asked: dict[str, Any]) -> str:
        """Ask the service, and return the body of its answer."""
        self._running()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("POST", path, json.dumps(asked), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read().decode()
        finally:
            connection.close()
        assert answer.status == 200, f"{path} answered {answer.status}: {body}\n{self.log()}"
        return body

    def ask_many(self, travellers: int) -> str:
        """Ask as that many users, each for the first time."""
        self._running()
        return self._run([sys.executable, "ask_many.py", str(travellers), "--port", str(self._port)])

    # --- who answered ---------------------------------------------------------------------------------------------------

    def served(self, user: str, path: str = "/ask") -> str:
        """Ask one thing as a user, and return the model that answered: no other was asked."""
        (model,) = self.asked(user, path)
        return model

    def asked(self, user: str, path: str = "/ask") -> list[str]:
        """Ask one thing as a user, check the answer's shape, and return the models that were asked by then."""
        before = self.sim.stats.requests
        if path == "/ask":
            assert self.post(path, {"user": user, "question": QUESTION}) == ANSWER
        elif path == "/phrase":
            asked = {"user": user, "phrase": "thank you", "language": "Italian"}
            assert json.loads(self.post(path, asked)) == {"translation": "Grazie"}
        else:
            assert self.post(path, {"user": user, "question": "What should one pack for Iceland?"}).endswith(".")
        new = [request for request in self.sim.requests if request.number > before]
        return [f"{request.provider}/{request.model}" for request in new]
