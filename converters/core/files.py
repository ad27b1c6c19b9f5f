"""Files that appear whole or not at all."""

import errno
import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TAKEN = (errno.ENOTEMPTY, errno.EEXIST)  # another worker was faster, with the same content

_UNFINISHED = re.compile(r"\.(?P<name>.+)\.(?P<token>[0-9a-f]+)-[0-9a-f]+\.partial(\.gone)*")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error in writing say which file: the system names it only where opening fails."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place, else it is removed.

    The temporary name keeps the suffix, since many libraries choose the format by it.
    """
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")  # machines share process ids
    try:
        with naming(path):
            yield temporary
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Any) -> None:
    """Write JSON, atomically; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def appearing(folder: Path, token: str) -> Iterator[Path]:
    """Yield a new folder beside `folder` that takes its place on success, and else is removed.

    Each has a name of its own: a cluster may have two workers at one scan.

    Args:
        folder: to make, or to replace.
        token: of the run, hexadecimal; what earlier runs left unfinished is removed first.
    """
    _remove(folder.parent, lambda name, other: name == folder.name and other != token)
    work = _beside(folder, token)
    work.mkdir(parents=True)
    try:
        yield work
        _replace(work, folder, token)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_unfinished(parent: Path, token: str) -> None:
    """Remove what a run's own workers left that were ended midway."""
    _remove(parent, lambda _, other: other == token)


def _beside(folder: Path, token: str) -> Path:
    return folder.with_name(f".{folder.name}.{token}-{secrets.token_hex(4)}.partial")


def _replace(work: Path, folder: Path, token: str) -> None:
    while True:
        old = _beside(folder, token)
        with suppress(FileNotFoundError):
            folder.rename(old)
        try:
            work.rename(folder)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
        else:
            return
        finally:
            shutil.rmtree(old, ignore_errors=True)


def _remove(parent: Path, chosen: Callable[[str, str], bool]) -> None:
    if not parent.is_dir():
        return
    for path in parent.iterdir():
        found = _UNFINISHED.fullmatch(path.name)
        if found and chosen(found["name"], found["token"]):
            gone = path.with_name(f"{path.name}.gone")
            with suppress(OSError):  # renamed first: who still writes there cannot finish it
                path.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
