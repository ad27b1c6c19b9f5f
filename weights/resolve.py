"""Find weight files on this machine by path or name."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from platformdirs import user_cache_path


class MissingWeights(LookupError):
    """A weight file is not on this machine.

    Attributes:
        problem, remedy: for the user, without full stops.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        """Keep the two parts."""
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}. {remedy}")


@dataclass(frozen=True)
class Known:
    """A published weight file.

    Attributes:
        file: its name here; the publisher's may be another.
        family, model: what it is a starting point for.
        source: address to fetch it from.
        licence: SPDX.
        bytes, sha256, md5: of the publisher's file; None where not known.
    """

    file: str
    family: str
    model: str
    source: str
    licence: str
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def remedy(self) -> str:
        """Advise how to fetch the file, without a full stop."""
        named = "" if self.source.endswith(f"/{self.file}") else f" as {self.file}"
        return f"fetch {self.source} and put it into {folder()}{named}"


def folder() -> Path:
    """Return the folder of weight files: `$DETECT_WEIGHTS`, else the user's cache."""
    named = os.environ.get("DETECT_WEIGHTS")
    return Path(named) if named else user_cache_path("detect") / "weights"


@cache
def known_weights() -> dict[str, Known]:
    """Return the register: file name → entry."""
    groups = yaml.safe_load((Path(__file__).parent / "register.yaml").read_text(encoding="utf-8"))
    entries = {}
    for group in groups:
        for file, facts in group["files"].items():
            source = group.get("source", "").format(file=file, stem=Path(file).stem)
            shared = {"family": group["family"], "licence": group["licence"], "source": source}
            entries[file] = Known(file=file, **(shared | facts))
    return entries


def for_model(model: str) -> Known | None:
    """Return the registered starting point of a model, here or not."""
    return next((entry for entry in known_weights().values() if entry.model == model), None)


def find(weights: str) -> Path:
    """Find a weight file by path, or by its name in `folder()`.

    Raises:
        MissingWeights: it is not there; for a known one the remedy says where to get it and where
            to put it.
    """
    for path in (Path(weights), folder() / Path(weights).name):
        if path.is_file():
            return path
    known = known_weights().get(Path(weights).name)
    if known is None:
        raise MissingWeights("is no file and no known weights", "give the path of a weight file")
    raise MissingWeights("is not on this machine", known.remedy)
