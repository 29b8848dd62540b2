"""The shape of the project, held by its syntax trees: who may import whom, what is pure, how big things may be."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "podium"

MODULES = sorted(SOURCE.rglob("*.py"))
PURE = [
    path
    for path in MODULES
    if path.relative_to(SOURCE).parts[0] in {"routing", "catalog", "wire", "types", "types.py", "errors.py"}
]

# fmt: off
IMPURE = frozenset({
    "asyncio", "concurrent", "contextvars", "ctypes", "dbm", "fcntl", "ftplib", "getpass", "http", "imaplib", "io",
    "locale", "logging", "mmap", "multiprocessing", "os", "pathlib", "platform", "poplib", "pty", "queue", "random",
    "resource", "sched", "secrets", "select", "selectors", "shelve", "shutil", "signal", "smtplib", "socket",
    "socketserver", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib.request", "uuid",
    "webbrowser",
})
# fmt: on
"""Of the standard library: what waits, sends, stores, draws lots or asks the machine."""
PURE_PACKAGES = frozenset({"msgspec", "podium"})
"""All that pure rooms may use beyond the standard library: no client and no database is among them."""
OF_SOME_PYTHONS = frozenset({"_sha2", "_sha256"})
"""Pure too: one is in the standard library from 3.12 on, the other until then, and no version names both."""

CLOCKS = frozenset({"now", "utcnow", "today"})
"""Of `datetime` and `date`: a pure room is told the time."""

VAGUE = frozenset({"utils", "util", "helpers", "helper", "manager", "managers", "handler", "handlers", "common", "misc"})

LONGEST_MODULE = 500
LONGEST_FUNCTION = 60
LONGER = {"types.py": 800}
"""Why: the values that flow through everything refer to each other; they are declarations with little logic."""


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a tree, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def impurities(tree: ast.AST) -> list[str]:
    found = []
    for name in imports(tree):
        package = name.partition(".")[0]
        known = package in PURE_PACKAGES | OF_SOME_PYTHONS or package in sys.stdlib_module_names
        if package in IMPURE or name in IMPURE or not known:
            found.append(f"imports {name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Attribute) and called.attr in CLOCKS:
                found.append(f"line {node.lineno} calls {called.attr}()")
            if isinstance(called, ast.Name) and called.id in {"open", "input", "print", "__import__"}:
                found.append(f"line {node.lineno} calls {called.id}()")
    return found


def long_functions(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            lines = node.end_lineno - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                found.append(f"{node.name} has {lines} lines")
    return found


def long_commands(tree: ast.AST) -> list[str]:
    """As `long_functions`, for the command line: there a signature is the table of options, and a docstring the help page."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            if lines > LONGEST_FUNCTION:
                found.append(f"{node.name} has {lines} lines below its options")
    return found


def makes_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return called in {"dict", "list", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}
    return isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp)


def mutable_globals(tree: ast.Module) -> list[str]:
    """What a module holds that could change: a mutable value that is not named as a constant, and every `global`."""
    found = [f"line {node.lineno} says global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if isinstance(node, ast.Assign | ast.AnnAssign) and makes_mutable(node.value):
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            found += [f"line {node.lineno} sets {name}" for name in names if not name.isupper() and name != "__all__"]
    return found


def says_nothing(body: list[ast.stmt]) -> bool:
    """Whether a block neither acts nor leaves: `pass`, `...`, `continue`, or a string."""
    return all(
        isinstance(node, ast.Pass | ast.Continue) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in body
    )


def is_broad(caught: ast.expr | None) -> bool:
    each = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(one is None or (isinstance(one, ast.Name) and one.id in {"Exception", "BaseException"}) for one in each)


def silent_excepts(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and is_broad(node.type) and says_nothing(node.body):
            found.append(f"line {node.lineno} swallows every error")
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                call = item.context_expr
                if (
                    isinstance(call, ast.Call)
                    and getattr(call.func, "attr", getattr(call.func, "id", "")) == "suppress"
                    and any(is_broad(argument) for argument in call.args)
                ):
                    found.append(f"line {node.lineno} suppresses every error")
    return found


def faults(paths: list[Path], check: Callable[[ast.Module], list[str]]) -> dict[str, list[str]]:
    found = {str(path.relative_to(SOURCE)): check(ast.parse(path.read_text("utf-8"), str(path))) for path in paths}
    return {name: each for name, each in found.items() if each}


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 10
    assert {"errors.py", "types.py", "wire/codec.py", "routing/resolve.py"} <= {str(path.relative_to(SOURCE)) for path in PURE}


def test_from_routing_downwards_nothing_waits_sends_stores_draws_lots_or_knows_the_time() -> None:
    assert faults(PURE, impurities) == {}


def test_rooms_import_downward_only() -> None:
    run = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert ", 0 broken" in run.stdout


def test_no_module_has_a_vague_name() -> None:
    names = {str(path.relative_to(SOURCE)): set(path.relative_to(SOURCE).with_suffix("").parts) for path in MODULES}
    assert {name for name, parts in names.items() if parts & VAGUE} == set()


def test_no_module_is_too_long() -> None:
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGER.get(name, LONGEST_MODULE)} == {}


def test_no_function_is_too_long() -> None:
    commands = [path for path in MODULES if path.relative_to(SOURCE).parts[0] == "cli"]
    assert faults([path for path in MODULES if path not in commands], long_functions) == {}
    assert faults(commands, long_commands) == {}


def test_no_module_holds_state() -> None:
    assert faults(MODULES, mutable_globals) == {}


def test_no_error_is_swallowed_unseen() -> None:
    assert faults(MODULES, silent_excepts) == {}


def test_every_module_opens_with_a_docstring() -> None:
    def undocumented(tree: ast.Module) -> list[str]:
        return [] if ast.get_docstring(tree) else ["has no docstring"]

    assert faults(MODULES, undocumented) == {}


@pytest.mark.parametrize(
    ("check", "source", "count"),
    [
        (impurities, "import time", 1),
        (impurities, "def f():\n    from os import path", 2),
        (impurities, "import aiohttp.client", 1),
        (impurities, "import urllib.request", 1),
        (impurities, "from urllib import request", 1),
        (impurities, "from datetime import datetime\ndatetime.now()", 1),
        (impurities, "open('x')", 1),
        (
            impurities,
            "import re, json\nfrom msgspec import json\nfrom urllib.parse import quote\nfrom importlib import resources",
            0,
        ),
        (long_functions, "def f():\n" + "    x = 1\n" * LONGEST_FUNCTION, 1),
        (long_functions, "def f():\n" + "    x = 1\n" * (LONGEST_FUNCTION - 1), 0),
        (long_commands, "def f(\n" + "    x=1,\n" * LONGEST_FUNCTION + "):\n    '''help'''\n    return x", 0),
        (long_commands, "def f():\n" + "    x = 1\n" * (LONGEST_FUNCTION + 1), 1),
        (mutable_globals, "cache = {}", 1),
        (mutable_globals, "cache: dict[str, int] = dict()", 1),
        (mutable_globals, "import collections\ncache = collections.defaultdict(list)", 1),
        (mutable_globals, "seen = [x for x in 'ab']", 1),
        (mutable_globals, "def f():\n    global x\n    x = 1", 1),
        (mutable_globals, "_TABLE = {}\nTABLE = []\n__all__ = []\nname = ()\ndef f():\n    local = {}", 0),
        (silent_excepts, "try:\n    f()\nexcept:\n    pass", 1),
        (silent_excepts, "try:\n    f()\nexcept Exception:\n    ...", 1),
        (silent_excepts, "try:\n    f()\nexcept (ValueError, BaseException):\n    pass", 1),
        (silent_excepts, "import contextlib\nwith contextlib.suppress(Exception):\n    f()", 1),
        (silent_excepts, "try:\n    f()\nexcept ValueError:\n    pass\ntry:\n    f()\nexcept Exception:\n    raise", 0),
    ],
)
def test_each_check_finds_what_it_is_for(check: Callable[[ast.Module], list[str]], source: str, count: int) -> None:
    assert len(check(ast.parse(source))) == count
