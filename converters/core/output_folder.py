"""Build a folder beside its target and put it in place in one step.

`atomic_folder` is for work that starts anew after a stop; `ResumableFolder` keeps what is done in
`OUT.partial`, where the next run takes it up.
"""

import errno
import hashlib
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from converters.core.errors import InputError, ParameterError
from converters.core.files import write_text
from converters.core.locks import exclusive_lock

TAKEN = (errno.ENOTEMPTY, errno.EEXIST)  # another worker was faster, with the same content
LOCK_FILE = "lock"

_UNFINISHED = re.compile(r"\.(?P<name>.+)\.(?P<token>[0-9a-f]+)-[0-9a-f]+\.partial(\.gone)*")


def is_free(out: Path) -> bool:
    """Return whether nothing lies at a path but perhaps an empty folder."""
    return not out.exists() or (out.is_dir() and not any(out.iterdir()))


def check_output(out: Path, overwrite: bool, kind: str, is_ours: bool) -> None:
    """Refuse to write where something else lies.

    Args:
        out: folder to make.
        overwrite: an earlier output of this kind may be replaced.
        kind: noun of the output, with its article.
        is_ours: the folder at `out` is an earlier output of this kind.

    Raises:
        InputError: something lies at `out` that is not to be replaced.
    """
    if not out.name.strip("."):
        raise ParameterError("out", f"`{out}` cannot be replaced as a whole", "name a new folder")
    if is_free(out):
        return
    if not overwrite:
        raise InputError(out, "exists", f"give another --out, or --overwrite {kind}")
    if not is_ours:
        raise InputError(out, f"exists and is not {kind}", "give another --out")


@contextmanager
def write_errors(out: Path, remedy: str) -> Iterator[None]:
    """Turn errors of the file system into an InputError with a remedy.

    Raises:
        InputError: an OSError was raised in the block.
    """
    try:
        yield
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise InputError(error.filename or out, problem, remedy) from error


@contextmanager
def atomic_folder(folder: Path, token: str = "") -> Iterator[Path]:
    """Yield a new folder beside `folder` that takes its place on success, and else is removed.

    Each has a name of its own: a cluster may have two workers at one scan. Errors in writing name
    the file's later place.

    Args:
        folder: to make, or to replace.
        token: of the run, hexadecimal; what runs with another token left unfinished is removed
            first. By default every call is a run.
    """
    token = token or secrets.token_hex(4)
    _remove(folder.parent, lambda name, other: name == folder.name and other != token)
    work = _beside(folder, token)
    work.mkdir(parents=True)
    try:
        yield work
        _publish(work, folder, token)
    except OSError as error:
        if error.filename and Path(error.filename).is_relative_to(work):
            error.filename = str(folder / Path(error.filename).relative_to(work))
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_unfinished(parent: Path, token: str) -> None:
    """Remove what a run's own workers left that were ended midway."""
    _remove(parent, lambda _, other: other == token)


class ResumableFolder:
    """`OUT.partial`, whose content becomes `OUT` in one step when all is done.

    Attributes:
        out: the target.
        staging: `OUT.partial`.
        plan: file in it with the fingerprint of what is being made.
        content: the later `OUT`; `staging` itself, or a folder in it that is named by the plan, so
            that what a cluster's workers still write for another plan does not end up in it.
    """

    def __init__(self, out: Path, content: str = "") -> None:
        """Name the folders; nothing is touched yet.

        Args:
            out: folder to make.
            content: prefix of the content's name in `OUT.partial`; empty: all of it is content.
        """
        self.out = out
        self.staging = out.parent / f"{out.name}.partial"
        self.plan = self.staging / "plan"
        self.content = self.staging
        self._prefix = content

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs away while the block runs.

        Raises:
            InputError: another run is at work.
        """
        busy = InputError(
            self.out, "is being written by another run", "wait until it ends, or give another --out"
        )
        try:
            with exclusive_lock(self.staging / LOCK_FILE, busy):
                yield
        finally:
            with suppress(OSError):  # it is not empty: the next run goes on
                self.staging.rmdir()

    def resume(self, plan: str) -> bool:
        """Keep what a run with the same plan left, and clear anything else away.

        Returns:
            whether anything was kept.
        """
        fingerprint = hashlib.sha256(plan.encode()).hexdigest()
        if self._prefix:
            self.content = self.staging / f"{self._prefix}-{fingerprint[:16]}"
        # No content: a run was killed just after it had published it.
        if self.content.is_dir() and holds_text(self.plan, fingerprint):
            return True
        self.discard()
        self.content.mkdir(parents=True, exist_ok=True)
        write_text(self.plan, fingerprint)
        return False

    def publish(self) -> None:
        """Put the content at `OUT`, in place of what was there, and remove the rest."""
        token = secrets.token_hex(4)
        _remove(self.out.parent, lambda name, _: name == self.out.name)
        _publish(self.content, self.out, token)
        self.discard()

    def discard(self) -> None:
        """Remove `OUT.partial`; the plan first, so that half of it is never taken up."""
        self.plan.unlink(missing_ok=True)
        for path in list(self.staging.iterdir()) if self.staging.is_dir() else []:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK_FILE:
                path.unlink()
        with suppress(OSError):  # it holds a lock
            self.staging.rmdir()


def holds_text(file: Path, text: str) -> bool:
    """Return whether a file has just this content."""
    return file.is_file() and file.read_text(encoding="utf-8") == text


def _beside(folder: Path, token: str) -> Path:
    return folder.with_name(f".{folder.name}.{token}-{secrets.token_hex(4)}.partial")


def _publish(work: Path, folder: Path, token: str) -> None:
    """Rename a finished folder to its target; what was there is moved aside first."""
    while True:
        old = _beside(folder, token)
        with suppress(FileNotFoundError):
            folder.rename(old)
        try:
            work.rename(folder)
        except OSError as error:
            if error.errno not in TAKEN:
                with suppress(OSError):
                    old.rename(folder)
                raise
        else:
            return
        finally:
            shutil.rmtree(old, ignore_errors=True)


def _remove(parent: Path, chosen: Callable[[str, str], bool]) -> None:
    if not parent.is_dir():
        return
    for path in parent.iterdir():
        match = _UNFINISHED.fullmatch(path.name)
        if match and chosen(match["name"], match["token"]):
            gone = path.with_name(f"{path.name}.gone")
            with suppress(OSError):  # renamed first: who still writes there cannot finish it
                path.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
