"""What holds for all tests.

Hundreds of tests start a Python of their own. Where `PYTHONDONTWRITEBYTECODE` is set, as in many containers, each of them would
compile Podium anew, so it is compiled once, before the first. What was imported and collected stays to the end: the garbage
collector need not walk through it again and again.

On CI nothing may be skipped, since CI has all that a test can ask for. Property tests have no deadlines: the machines that run
them are shared, and speed is measured in `bench/`.
"""

from __future__ import annotations

import compileall
import gc
import os
import subprocess
from collections.abc import Callable, Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

import podium

settings.register_profile("podium", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("podium")


def pytest_sessionstart() -> None:
    """Compile Podium for the processes that tests start; where it cannot be kept, they are slower and nothing else."""
    for folder in podium.__path__:
        compileall.compile_dir(folder, quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests, and leave what that made out of all further garbage collections."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where CI is set."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and CI skips nothing: {reason}"
    return report


@pytest.fixture
def mounts() -> Iterator[Callable[..., None]]:
    """Calls `mount`, and takes down at the end what it mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    made: list[str] = []

    def mount(*arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True, capture_output=True)
        if not any("remount" in each for each in arguments):
            made.append(arguments[-1])

    yield mount
    for point in reversed(made):
        subprocess.run(["umount", "--lazy", point], check=True, capture_output=True)
