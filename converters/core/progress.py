"""Progress of long work: who reports it, and the bar on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Reporter(Protocol):
    """Shows how far long work has come."""

    def start(self, title: str, total: int) -> AbstractContextManager[Callable[[str], None]]:
        """Report work of `total` units while the block runs; see `progress`."""

    def message(self, text: str) -> None:
        """Report one line between two pieces of work."""


class TerminalReporter:
    """A bar with a rate and an ETA on stderr, where that is a terminal; silence elsewhere."""

    @contextmanager
    def start(self, title: str, total: int) -> Iterator[Callable[[str], None]]:
        """Show a bar while the block runs."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        console = Console(stderr=True)
        with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task(title, total=total, note="")
            yield lambda note: bar.update(task, advance=1, note=note)

    def message(self, text: str) -> None:
        """Write a line to stderr."""
        if sys.stderr.isatty():
            sys.stderr.write(f"{text}\n")


class SilentReporter:
    """Reports nothing."""

    @contextmanager
    def start(self, title: str, total: int) -> Iterator[Callable[[str], None]]:
        """Take notes and drop them."""
        yield lambda note: None

    def message(self, text: str) -> None:
        """Drop a line."""


_reporter: ContextVar[Reporter] = ContextVar("reporter", default=TerminalReporter())  # noqa: B039


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Show finished units a second."""
        return Text(f"{task.finished_speed or task.speed or 0:.1f}/s", style="progress.data.speed")


@contextmanager
def report_to(reporter: Reporter) -> Iterator[None]:
    """Send the progress of everything inside the block to a reporter."""
    before = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(before)


def reporter() -> Reporter:
    """Return the reporter in force."""
    return _reporter.get()


def progress(title: str, total: int) -> AbstractContextManager[Callable[[str], None]]:
    """Report work while the block runs.

    Args:
        title: what is being done.
        total: units of work.

    Returns:
        A context manager whose value is a function that advances by one unit and takes a short
        note, shown after the bar.
    """
    return reporter().start(title, total)
