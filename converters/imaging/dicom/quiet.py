"""Silence pydicom and highdicom, whose messages may quote names and UIDs."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# These are settings of the whole process: threads take turns, or the first to end would let the
# others' messages out.
_TURN = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warnings and log records of pydicom and highdicom while the block runs."""
    with _TURN:
        yield from _quiet()


def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
