"""Run one function over many items in worker processes; the results do not depend on how many."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
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
    # spawn: forking a process that holds threads (a progress bar, OpenCV, torch) can deadlock.
    with ProcessPoolExecutor(
        min(workers, len(items)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_leave_with_parent,
        initargs=(os.getpid(),),
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


def _leave_with_parent(parent: int) -> None:
    """End this worker when the parent was killed: an idle pool worker would wait for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
