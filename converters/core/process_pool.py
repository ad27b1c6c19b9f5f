"""Run items in processes of this machine."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext

from converters.core.pool import Item, Result, WorkersError


def available_cores() -> int:
    """Count the cores that this process may use, or all where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
                "workers",
                "a worker process was ended from outside, perhaps for want of memory",
                "use fewer, and run the same command again: it resumes",
            ) from error

    def check(self) -> None:
        """See `Pool`: the results report a process that ended."""

    def close(self) -> None:
        """See `Pool`."""
        self._executor.shutdown(cancel_futures=True)


def _context() -> BaseContext:
    """Choose how workers start: forking a process with threads (OpenCV) can deadlock.

    Where the system can, they are forked from a server process without threads, which has loaded
    the libraries once for all of them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["converters.conversion.case", "converters.imaging.nifti"])
    return context


def _leave_with_parent() -> None:
    """End this worker when its parent is killed: an idle pool worker would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  (this runs in workers only)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
