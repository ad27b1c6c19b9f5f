"""Lock files between processes, and end a process in order on SIGTERM."""

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from converters.core.errors import InputError

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of some network file systems
_POLL = 0.1  # s


@contextmanager
def exclusive_lock(file: Path, busy: InputError, patience: float = 0.0) -> Iterator[int]:
    """Hold a lock file while the block runs; the system lets go of it when the process ends.

    A file system that has no locks is used without one.

    Args:
        file: to lock; it and its folder are made where they are missing, and the file is removed
            in the end.
        busy: to raise where another process holds the lock.
        patience: seconds to wait for the other one.

    Yields:
        The descriptor of the file: a child process that inherits it holds the lock, too.

    Raises:
        InputError: `busy`.
    """
    deadline = time.monotonic() + patience
    while (descriptor := _open_locked(file)) is None:
        if time.monotonic() > deadline:
            raise busy
        time.sleep(_POLL)
    try:
        yield descriptor
    finally:
        with suppress(OSError):  # not before it is closed on Windows, where it stays
            file.unlink()
        os.close(descriptor)


def _open_locked(file: Path) -> int | None:
    """Open and lock a file; None where another process holds it."""
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError), ExitStack() as stack:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, descriptor)
            if not _try_lock(descriptor):
                return None
            if os.path.samestat(os.fstat(descriptor), file.stat()):  # its last owner removes it
                stack.pop_all()
                return descriptor


def _try_lock(descriptor: int) -> bool:
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return True
        raise


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let the signal by which service managers stop a process end the block as Ctrl-C does."""
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
