"""Performs a document: its blocks are run in order, as a reader would run them.

Theory. The snippets shall be those that a reader copies, with the providers' real addresses. So nothing in a snippet is
changed; only the last step of a request is: `ToSim`, the transport, sends what is addressed to a kind of provider to the
simulated provider of its name, as a name server would that was told so.

Rules.
- All Python blocks of a document share one namespace and one event loop; `await` is allowed at their top level.
- A block whose first line is a comment with a path is that file: it is written, and imported or checked.
- YAML is compiled by `podium.config`. Commands of `podium` are run in this process; those that would serve, take long or go on
  without end are parsed only, as are those of a crontab. Commands of `make` must be targets of the Makefile.
- What a block prints is kept until the next block, for a text block with the mark `output`.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import io
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from typer.main import get_command
from typer.testing import CliRunner

from docs.blocks import ROOT, Block, commands, compare
from podium import config
from podium.catalog.providers import kinds
from podium.cli.main import app
from podium.engine.transport import AiohttpReply, AiohttpTransport
from podium.errors import ConfigError
from podium.sim import Sim

BASE: dict[str, Any] = {"providers": {name: {} for name in ("openai", "anthropic", "openrouter", "groq", "local")}}
"""What a fragment is a part of, where its document has no whole config before it."""

_NOT_RUN = {"sim", "demo"}
"""Commands that serve until they are stopped, or take long."""
_ENDLESS = {"--watch", "--every"}
"""Options that make a command go on until it is stopped."""
_CRON = re.compile(r"(?:[\d*/,-]+ ){5}cd [\w./-]+ && (?:[\w./-]+/)?podium (?P<words>[^>&|]+)(?:> .+)?")
_OTHER_PROGRAMS = {"pip", "uv", "git", "cd", "export", "source"}


class ToSim(AiohttpTransport):
    """Takes what is addressed to a kind of provider to the simulated one."""

    def __init__(self, sim: Sim) -> None:
        super().__init__()
        self._sim = sim

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> AiohttpReply:
        for name, kind in kinds().items():
            if url.startswith(kind.base_url):
                return await super().post(self._sim.base_url(name) + url.removeprefix(kind.base_url), headers, body)
        assert url.startswith("http://127.0.0.1:"), f"a document asks {url}, which is no provider of the table"
        return await super().post(url, headers, body)


class Stage:
    """Where one document is performed, in a folder of its own."""

    def __init__(self, folder: Path, runner: asyncio.Runner) -> None:
        self._folder = folder
        self._runner = runner
        self._namespace: dict[str, Any] = {"__name__": "__main__"}
        self._printed: str | None = None
        self._whole = BASE
        self._problems: str | None = None

    def perform(self, block: Block) -> None:
        """Run one block; raises where it does not do what it says."""
        if block.mark.startswith("skip: "):
            return
        match block.language:
            case "python":
                self._python(block)
            case "yaml":
                self._yaml(block)
            case "console" | "bash":
                self._printed = "".join(self._command(block, command, said) for command, said in commands(block))
            case "text":
                self._text(block)
            case "json":
                assert block.mark.startswith("file "), "a block of JSON is a file: say which"
                self._write(block.mark.removeprefix("file "), block.text)
            case "crontab":
                for line in block.text.splitlines():
                    entry = _CRON.fullmatch(line)
                    assert entry, f"this is no line of a crontab that enters a folder and runs podium: {line}"
                    _parse(shlex.split(entry["words"]))
            case "typescript":
                assert not block.mark, "TypeScript is not run"
            case language:
                raise AssertionError(f"a block in {language or 'no language'} is neither run nor checked")

    # --- Python ----------------------------------------------------------------------------------------------------------

    def _python(self, block: Block) -> None:
        if block.file:
            self._write(block.file, block.text)
            for name in [name for name, module in sys.modules.items() if self._is_ours(module)]:
                del sys.modules[name]
            importlib.invalidate_caches()
            importlib.import_module(block.file.removesuffix(".py").replace("/", "."))
            return
        # The lines keep their numbers in the document, so that a traceback leads there.
        code = compile("\n" * block.line + block.text, block.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        self._printed, out = None, io.StringIO()
        with contextlib.redirect_stdout(out):
            if code.co_flags & inspect.CO_COROUTINE:
                self._runner.run(eval(code, self._namespace))
            else:
                exec(code, self._namespace)
        self._printed = out.getvalue()

    def _is_ours(self, module: Any) -> bool:
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        return any(place and Path(place).is_relative_to(self._folder) for place in places)

    def _write(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", "utf-8")
        return path

    # --- YAML ------------------------------------------------------------------------------------------------------------

    def _yaml(self, block: Block) -> None:
        name = block.file or "podium.yaml"
        if block.mark == "fragment":
            part = yaml.safe_load(block.text)
            merged = {key: {**value, **part.get(key, {})} for key, value in self._whole.items() if hasattr(value, "items")}
            config.compile_config({**self._whole, **part, **merged})
            return
        path = self._write(name, block.text).relative_to(self._folder)
        if block.mark == "wrong":
            self._problems = _problems_of(path)
            return
        if "experiments" in yaml.safe_load(block.text):
            snapshot = config.compile_config(self._whole)
            config.with_user(snapshot, config.load_user("somebody", path, providers=snapshot.providers))
            return
        config.compile_config(config.load_config(path))
        self._whole = yaml.safe_load(block.text)

    # --- Commands --------------------------------------------------------------------------------------------------------

    def _command(self, block: Block, command: str, said: str) -> str:
        words = shlex.split(command, comments=True)
        program = words[0] if words else ""
        if program == "make":
            targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
            assert set(words[1:]) <= targets, f"the Makefile has no target {' '.join(words[1:])}"
            return ""
        if program != "podium":
            assert program in _OTHER_PROGRAMS, f"{program} is not a program that the documents use"
            return ""
        printed = _podium(words[1:], fails=block.mark == "fails")
        if said:
            compare(said, printed)
        return printed

    # --- Text ------------------------------------------------------------------------------------------------------------

    def _text(self, block: Block) -> None:
        if block.mark == "output":
            assert self._printed is not None, "the block before this one prints nothing"
            compare(block.text, self._printed)
        elif block.mark == "error":
            assert self._problems is not None, "there is no wrong config before this block"
            compare(block.text, self._problems)
        else:
            assert not block.mark, f"a text block has no mark {block.mark}"


def _problems_of(path: Path) -> str:
    try:
        config.compile_config(config.load_config(path))
    except ConfigError as error:
        return str(error)
    raise AssertionError("this config is said to be wrong, and loads")


def _parse(words: list[str]) -> None:
    """Read a command's options and arguments, and do nothing."""
    command: Any = get_command(app)
    path = ""
    while words and words[0] in getattr(command, "commands", {}):
        path, command, words = f"{path} {words[0]}", command.commands[words[0]], words[1:]
    assert path, f"`podium {' '.join(words)}` is not a command"
    command.make_context(path, words)


def _podium(words: list[str], *, fails: bool) -> str:
    """Run a command of Podium's, or check that it could be run."""
    if (words and words[0] in _NOT_RUN) or _ENDLESS & set(words):
        _parse(words)
        return ""
    result = CliRunner().invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert (result.exit_code != 0) == fails, f"podium {' '.join(words)} exits with {result.exit_code}:\n{result.output}"
    return result.output
