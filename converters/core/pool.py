"""Run one function over many items in other processes; the results do not depend on which."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Protocol, TypeVar

from converters.core.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHECK_S = 1.0  # without a result for so long, the pool is asked whether there will be any


class WorkersError(InputError):
    """The workers are at fault, and not the item that one of them had: the run ends."""


class WorkersEnded(Exception):
    """One item ended every worker that took it; the others are well."""


class Pool(Protocol):
    """Other processes that items are sent to."""

    def submit(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        """Send an item, with a module-level function or a partial of one."""

    def result(self, future: Future[Result]) -> Result:
        """Return what the function returned, or raise what it raised.

        Raises:
            WorkersError: nothing more will come from this pool.
            WorkersEnded: this item is beyond the workers.
        """

    def check(self) -> None:
        """Raise WorkersError if it is in vain to wait any longer."""

    def close(self) -> None:
        """Let the processes go."""


def open_pool(
    workers: int, scheduler: str | None, needs: Mapping[str, str], sees: Sequence[Path]
) -> Pool | None:
    """Make the pool that a command line asks for; None: this process does the work.

    Args:
        workers: processes of this machine.
        scheduler: address of a dask scheduler, whose workers are taken instead.
        needs: package → version that a cluster's workers must have.
        sees: absolute paths that a cluster's workers must see as this process does.

    Raises:
        WorkersError: the cluster cannot be reached or is of other versions.
    """
    if scheduler is not None:
        from converters.core.dask_pool import Cluster

        return Cluster(scheduler, needs, sees)
    return Processes(workers) if workers > 1 else None


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
    guilty = []
    for item in ended:  # once more and alone: what only waited in the same worker is innocent
        for _, outcome in _as_they_finish(function, [item], pool):
            if isinstance(outcome, WorkersEnded):
                guilty.append((item, outcome))
            else:
                yield item, outcome
    yield from guilty


def users_fault(path: Path, error: Exception) -> InputError:
    """Let one bad case pass into the list; anything else than the user's input ends the run.

    So does a case that ends its workers: with more memory it may well be read, and what is left out
    must depend on the input alone.

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


class Processes:
    """Worker processes of this machine, started as they are needed."""

    def __init__(self, workers: int) -> None:
        """Start none yet."""
        self._executor = ProcessPoolExecutor(
            workers, mp_context=_context(), initializer=_leave_with_parent
        )

    def submit(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        """See `Pool`."""
        return self._executor.submit(function, item)

    def result(self, future: Future[Result]) -> Result:
        """See `Pool`."""
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise WorkersError(
                "--workers",
                "a worker process was ended from outside, perhaps for want of memory",
                "use fewer, and run the same command again: it resumes",
            ) from error

    def check(self) -> None:
        """See `Pool`: a process that ends is told by the results."""

    def close(self) -> None:
        """See `Pool`."""
        self._executor.shutdown(cancel_futures=True)


def _context() -> BaseContext:
    """How workers start. Forking a process with threads (a progress bar, OpenCV) can deadlock.

    Where the system can, they are forked from a process of its own without any, which has loaded
    the libraries once for all of them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["converters.conversion.case", "converters.imaging.nifti"])
    return context


def _leave_with_parent() -> None:
    """End this worker when the parent was killed: an idle pool worker would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  (this runs in workers only)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
