"""The journal `watch.json` of `detect watch`: which scans were tried, and how it ended."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from converters.core.files import write_text

JOURNAL_FILE = "watch.json"


class Entry(BaseModel):
    """Result of trying the scans of one path.

    Attributes:
        stamp: of their files.
        state: `other` where they are no scan.
        cases: names of their results.
    """

    stamp: str
    state: Literal["done", "failed", "other"]
    cases: list[str] = []


class _Content(BaseModel):
    request: str
    places: dict[str, Entry] = {}


class Journal:
    """The file `watch.json`. It holds no path, since folders tend to be named after people.

    Args:
        out: folder of the results.
        request: settings that they depend on; with other ones all scans are tried anew.
    """

    def __init__(self, out: Path, request: object) -> None:
        """Read the file; one that is damaged counts as empty."""
        self._file = out / JOURNAL_FILE
        for left in out.glob(f".????????.{JOURNAL_FILE}"):  # by a run that was killed
            left.unlink(missing_ok=True)
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        self._content = _Content(request=digest)
        try:
            content = _Content.model_validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            return
        if content.request == digest:
            self._content = content

    def of(self, path: Path) -> Entry | None:
        """Return the last try of a path, if any."""
        return self._content.places.get(_place(path))

    def add(self, path: Path, entry: Entry) -> None:
        """Write down the result of trying a path."""
        self._content.places[_place(path)] = entry
        self._write()

    def keep(self, paths: Collection[Path]) -> None:
        """Forget all paths but some.

        Args:
            paths: that still exist.
        """
        places = {_place(path) for path in paths}
        gone = [place for place in self._content.places if place not in places]
        for place in gone:
            del self._content.places[place]
        if gone:
            self._write()

    def _write(self) -> None:
        write_text(self._file, self._content.model_dump_json(indent=1) + "\n")


def _place(path: Path) -> str:
    return hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]
