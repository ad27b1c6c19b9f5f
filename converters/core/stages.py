"""Overlap reading, detecting and writing: of three scans in a row, each is in another stage."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
Read = TypeVar("Read")
Found = TypeVar("Found")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Settled(Generic[Outcome]):
    """The outcome of an item that needs no further stage."""

    outcome: Outcome | Exception


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Generator[Made, None, None]:
    """Yield `make` of each item, in order, while a thread makes the next one and no more.

    An exception of `make` is raised in the turn of its item.
    """
    maker = ThreadPoolExecutor(1)
    pending: deque[Future[Made]] = deque()
    try:
        for item in items:
            pending.append(maker.submit(make, item))
            if len(pending) > 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        maker.shutdown(cancel_futures=True)  # waits for what runs


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Read | Settled[Outcome]],
    find: Callable[[Read], Found],
    write: Callable[[Found], Outcome],
) -> Iterator[Outcome | Exception]:
    """Yield the outcome of each item, or the exception of one of its stages, in order.

    `read` and `write` run in a thread each, `find` in this one. At most one item is read ahead, one
    is in `find` and one being written, so that memory is bounded by three.

    Args:
        items: to process.
        read: may settle an item at once.
        find, write: the stages after it.
    """
    writer = ThreadPoolExecutor(1)
    writing: Future[Outcome | Exception] | None = None
    try:
        with closing(ahead(partial(_attempt, read), items)) as scans:
            for scan in scans:
                result = scan if isinstance(scan, Settled) else _attempt(find, scan)
                del scan  # the next one is being read already
                if writing is not None:
                    yield writing.result()
                writing = writer.submit(_finish, write, result)
                del result
        if writing is not None:
            yield writing.result()
    finally:
        writer.shutdown()  # what is being written becomes whole


def _attempt(function: Callable[[Item], Made], item: Item) -> Made | Settled[Any]:
    try:
        return function(item)
    except Exception as error:  # the caller decides what it means; the other items go on
        return Settled(error)


def _finish(
    write: Callable[[Found], Outcome], result: Found | Settled[Outcome]
) -> Outcome | Exception:
    if isinstance(result, Settled):
        return result.outcome
    written = _attempt(write, result)
    return written.outcome if isinstance(written, Settled) else written
