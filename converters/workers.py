"""Run one function over many items in worker processes; the results do not depend on how many."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import TypeVar

from converters.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[Item, Result | Exception]]:
    """Yield (item, result or the exception it raised) as items finish, in no particular order.

    Args:
        function: a module-level function, since it is sent to other processes.
        items: its arguments.
        workers: processes; 1 runs in this one.

    Raises:
        InputError: a worker process was killed.
    """
    if workers <= 1 or len(items) <= 1:
        for item in items:
            try:
                yield item, function(item)
            except Exception as error:  # the caller decides which of them are fatal
                yield item, error
        return
    with ProcessPoolExecutor(
        min(workers, len(items)), mp_context=_context(), initializer=_leave_with_parent
    ) as pool:
        futures: dict[Future[Result], Item] = {pool.submit(function, i): i for i in items}
        try:
            for future in as_completed(futures):
                outcome: Result | Exception
                try:
                    outcome = future.result()
                except BrokenProcessPool as error:
                    raise InputError(
                        "--workers",
                        "a worker process was ended from outside, perhaps for want of memory",
                        "use fewer, and run the same command again: it resumes",
                    ) from error
                except Exception as error:
                    outcome = error
                yield futures[future], outcome
        finally:
            for future in futures:
                future.cancel()


def _context() -> BaseContext:
    """How workers start. Forking a process with threads (a progress bar, OpenCV) can deadlock.

    Where the system can, they are forked from a process of its own without any, which has loaded
    the libraries once for all of them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["converters.case", "converters.nifti"])
    return context


def _leave_with_parent() -> None:
    """End this worker when the parent was killed: an idle pool worker would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  (this runs in workers only)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
