"""From what a user typed to a weight file on this machine."""

import os
from pathlib import Path
from typing import Any

import yaml


class MissingWeights(LookupError):
    """A weight file is not on this machine.

    Attributes:
        problem, remedy: for the user, without full stops.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        """Keep the two parts."""
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}. {remedy}")


def folder() -> Path:
    """Where weight files are looked for by name: `$DETECT_WEIGHTS`, else the user's cache."""
    named = os.environ.get("DETECT_WEIGHTS")
    return Path(named) if named else Path.home() / ".cache" / "detect" / "weights"


def known_weights() -> list[dict[str, Any]]:
    """Return the register's entries: file, family, source, licence."""
    entries: list[dict[str, Any]] = yaml.safe_load(
        (Path(__file__).parent / "register.yaml").read_text(encoding="utf-8")
    )
    return entries


def find(weights: str) -> Path:
    """Find a weight file by path, or by its name in `folder()`.

    Raises:
        MissingWeights: it is not there; for a known one the remedy says where to get it and where
            to put it.
    """
    for path in (Path(weights), folder() / Path(weights).name):
        if path.is_file():
            return path
    source = {entry["file"]: entry["source"] for entry in known_weights()}.get(Path(weights).name)
    if source is None:
        raise MissingWeights("is no file and no known weights", "give the path of a weight file")
    raise MissingWeights("is not on this machine", f"fetch {source} and put it into {folder()}")
