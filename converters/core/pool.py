"""Run one function over many items in other processes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Protocol, TypeVar

from converters.core.errors import InputError, ParameterError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHECK_S = 1.0  # after so long without a result, the pool is checked


class WorkersError(ParameterError):
    """The workers failed, not the item that one of them had; the run ends."""


class WorkersEnded(Exception):
    """An item ended every worker that took it; the pool goes on."""


class Pool(Protocol):
    """Other processes that items are sent to."""

    def submit(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        """Send an item, with a module-level function or a partial of one."""

    def result(self, future: Future[Result]) -> Result:
        """Return what the function returned, or raise what it raised.

        Raises:
            WorkersError: nothing more will come from this pool.
            WorkersEnded: this item ended every worker that took it.
        """

    def check(self) -> None:
        """Raise WorkersError if no further result can come."""

    def close(self) -> None:
        """Release the processes."""


def run_all(
    function: Callable[[Item], Result], items: Sequence[Item], pool: Pool | None
) -> Iterator[tuple[Item, Result | Exception]]:
    """Yield (item, result or the exception it raised) as items finish, in no particular order.

    Items that end their workers come last, so that the others are done by then.

    Args:
        function: a module-level function, since it is sent to other processes.
        items: its arguments.
        pool: where it runs; None is this process.

    Raises:
        WorkersError: the pool cannot go on.
    """
    if pool is None:
        for item in items:
            try:
                yield item, function(item)
            except Exception as error:  # the caller decides which of them are fatal
                yield item, error
        return
    ended = []
    for item, outcome in _as_they_finish(function, items, pool):
        if isinstance(outcome, WorkersEnded):
            ended.append(item)
        else:
            yield item, outcome
    fatal = []
    for item in ended:  # again, one by one: an item may only have waited in the same worker
        for _, outcome in _as_they_finish(function, [item], pool):
            if isinstance(outcome, WorkersEnded):
                fatal.append((item, outcome))
            else:
                yield item, outcome
    yield from fatal


def as_input_error(path: Path, error: Exception) -> InputError:
    """Return the error of a bad case for the list of errors, and raise any other error.

    A case that ended its workers is raised: with more memory it may be readable, and which cases
    are left out must depend on the input alone.

    Args:
        path: of the case.
        error: what it raised.
    """
    if isinstance(error, InputError):
        return error
    if isinstance(error, WorkersEnded):
        raise WorkersError(
            path,
            "ended every worker that took it, perhaps for want of memory; the others are done",
            "give the workers more memory and run the same command again: it resumes",
        ) from error
    raise error


def _as_they_finish(
    function: Callable[[Item], Result], items: Sequence[Item], pool: Pool
) -> Iterator[tuple[Item, Result | Exception]]:
    futures = {pool.submit(function, item): item for item in items}
    try:
        while futures:
            done, _ = wait(futures, timeout=CHECK_S, return_when=FIRST_COMPLETED)
            if not done:
                pool.check()
            while done:
                future = done.pop()
                item = futures.pop(future)
                outcome: Result | Exception
                try:
                    outcome = pool.result(future)
                except WorkersError:
                    raise
                except Exception as error:
                    outcome = error
                finally:
                    del future  # a cluster makes a result again that it lost while it is held here
                yield item, outcome
    finally:
        for future in futures:
            future.cancel()
