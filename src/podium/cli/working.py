"""Working off a list, a few at a time, with a progress bar.

Theory. Workers take one after another from one iterator, so that no more than so many are at work, and none waits for a
slow one.

Rules. What one of them raises ends them all; so does the end of the task that waits for them. The bar is on stderr.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from podium.cli import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")


async def work_off(todo: Iterable[T], do: Callable[[T], Awaitable[None]], concurrency: int) -> None:
    """Do all of it, so many at once. Raises what one of them raises, after the others were ended."""
    every = list(todo)
    each = iter(every)

    async def work(mine: Iterator[T]) -> None:
        for one in mine:
            await do(one)

    workers = [asyncio.create_task(work(each)) for _ in range(min(concurrency, len(every)))]
    try:
        if workers:
            await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    for worker in workers:
        if not worker.cancelled():
            worker.result()


class Bar:
    """A progress bar on stderr, or nothing."""

    def __init__(self, done: int, total: int, *, shown: bool) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        if shown and done < total:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[words]}"),
                TimeRemainingColumn(),
                console=console.console("err"),
                redirect_stdout=console.is_terminal("out"),
                transient=True,
            )
            self._task = self._progress.add_task("", total=total, completed=done, words="")

    def show(self, done: int, words: str) -> None:
        """Draw how much is done, and words beside it."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, words=words)

    def __enter__(self) -> Bar:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._progress is not None:
            self._progress.stop()
