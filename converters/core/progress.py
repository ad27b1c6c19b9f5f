"""The one progress bar: a rate and an ETA on a terminal, silence elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Show finished units a second."""
        return Text(f"{task.finished_speed or task.speed or 0:.1f}/s", style="progress.data.speed")


@contextmanager
def progress(title: str, total: int, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Show a bar on stderr while the block runs.

    Args:
        title: what is being done.
        total: units of work.
        quiet: no bar, as when stderr is not a terminal.

    Yields:
        A function that advances by one unit and takes a short note, shown after the bar.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    silent = quiet or not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=silent) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda note: bar.update(task, advance=1, note=note)
