"""A training that is killed after some epochs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


class Killed(Exception):
    """The exception that stands for the end of the process."""


def stop_after(patch: pytest.MonkeyPatch, epochs: int) -> None:
    """Let training end without warning once so many epochs are written."""

    @contextmanager
    def progress(*_: object) -> Iterator[Callable[[str], None]]:
        left = [epochs]

        def advance(note: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        yield advance

    patch.setattr("detect.workflows.train.progress", progress)
