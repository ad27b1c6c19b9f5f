"""Read, detect and write at once: of three scans in a row, each is in another stage."""

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
    """What became of an item that needs no further stage."""

    outcome: Outcome | Exception


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Generator[Made, None, None]:
    """Yield what is made of each item, in order, while a thread makes the next one and no more.

    What `make` raises is raised here, in its turn.
    """
    maker = ThreadPoolExecutor(1)
    made: deque[Future[Made]] = deque()
    try:
        for item in items:
            made.append(maker.submit(make, item))
            if len(made) > 1:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()
    finally:
        maker.shutdown(cancel_futures=True)  # waits for what runs


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Read | Settled[Outcome]],
    find: Callable[[Read], Found],
    write: Callable[[Found], Outcome],
) -> Iterator[Outcome | Exception]:
    """Yield the outcome of each item, or what one of its stages raised, in the items' order.

    `read` and `write` run in a thread each, `find` in this one. At most one item is read ahead, one
    is being found and one being written, so that memory is bounded by three.

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
                found = scan if isinstance(scan, Settled) else _attempt(find, scan)
                del scan  # the next one is being read already
                if writing is not None:
                    yield writing.result()
                writing = writer.submit(_finish, write, found)
                del found
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
    write: Callable[[Found], Outcome], found: Found | Settled[Outcome]
) -> Outcome | Exception:
    if not isinstance(found, Settled):
        made = _attempt(write, found)
        return made.outcome if isinstance(made, Settled) else made
    return found.outcome
