"""One watch at a time, and its end."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from converters.core.errors import InputError

LOCK_FILE = ".watch.lock"


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep a second watch away, such as one that cron starts before the last has ended.

    Raises:
        InputError: there is one at work.
    """
    if sys.platform == "win32":  # no such lock there
        yield
        return
    import fcntl

    with (out / LOCK_FILE).open("w") as lock:  # the system lets go of it when the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                out, "has another `detect watch` at work", "wait for it, or give another --out"
            ) from None
        yield


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let what service managers send end the block as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
