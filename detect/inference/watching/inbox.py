"""List the folder that scans are copied into, and tell which of them no longer change.

The folder is listed again and again. A share of another machine sends no notice of changes (inotify
and its like report only those that this machine makes), and a walk with `stat` works everywhere.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from converters.imaging.read import ITK_SUFFIXES, SUFFIXES


@dataclass
class Listing:
    """Scans and folders of an inbox.

    Attributes:
        stamps: of each scan file, and of each folder of other files, which may be a DICOM series:
            a hash of names, sizes and times.
        closed: folders that cannot be read, and why.
    """

    stamps: dict[Path, str] = field(default_factory=dict)
    closed: dict[Path, str] = field(default_factory=dict)


def list_inbox(inbox: Path, without: Path) -> Listing:
    """List a folder and those below it.

    Hidden files and folders are skipped, since copying tools name unfinished files so. Links that
    leave the folder are skipped, too.

    Args:
        inbox: the folder.
        without: a folder that is left out, with the results.

    Raises:
        OSError: the folder itself cannot be read.
    """
    listing = Listing()
    home, without = inbox.resolve(), without.resolve()
    os.scandir(inbox).close()

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # it was moved away meanwhile
            listing.closed[Path(error.filename)] = error.strerror or str(error)

    for root, folders, names in os.walk(inbox, onerror=note):
        here = Path(root)
        folders[:] = [f for f in folders if f[0] != "." and (here / f).resolve() != without]
        stats: dict[str, list[object]] = {}
        for name in names:
            path = here / name
            try:
                if name[0] != "." and _inside(path, home):
                    stat = path.stat()
                    stats[name] = [name, stat.st_size, stat.st_mtime_ns]
            except OSError:  # gone meanwhile
                continue
        scans = [name for name in stats if name.lower().endswith(SUFFIXES)]
        for name in scans:
            files = [stats[name]]
            if name.lower().endswith(ITK_SUFFIXES):  # detached data lie beside their header
                files = [stats[other] for other in stats if Path(other).stem == Path(name).stem]
            listing.stamps[here / name] = _digest(files)
        if others := [stats[name] for name in stats if name not in scans]:
            listing.stamps[here] = _digest(others)
    return listing


class Settling:
    """Times since the scans of an inbox last changed."""

    def __init__(self, seconds: float) -> None:
        """Start without any scan.

        Args:
            seconds: without a change, after which a scan counts as complete.
        """
        self._seconds = seconds
        self._since: dict[Path, tuple[str, float]] = {}

    def settled(self, stamps: Mapping[Path, str]) -> list[Path]:
        """Compare with the listing before; returns the paths that have not changed for long enough.

        Args:
            stamps: of the present listing.
        """
        now = time.monotonic()
        before, self._since = self._since, {}
        for path, stamp in stamps.items():
            known = before.get(path)
            self._since[path] = known if known and known[0] == stamp else (stamp, now)
        return sorted(p for p, (_, since) in self._since.items() if now - since >= self._seconds)


def _inside(path: Path, home: Path) -> bool:
    return not path.is_symlink() or path.resolve().is_relative_to(home)


def _digest(stats: list[list[object]]) -> str:
    return hashlib.sha256(json.dumps(sorted(stats, key=str)).encode()).hexdigest()[:32]
