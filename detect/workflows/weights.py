"""Choose, list, add and verify the weight files that trainings start from.

Nothing in this file unpickles anything.
"""

import hashlib
import json
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from converters.core.errors import InputError, ParameterError
from converters.core.files import atomic_file, write_json
from converters.core.progress import progress
from weights import resolve
from weights.resolve import Known

INDEX = "index.json"  # in the folder of weights: sha256 and size of what was added
AUTO, SYNTHETIC = "auto", "synthetic"
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Start:
    """The start of a training.

    Attributes:
        path: weight file; None is from scratch.
        message: a line that tells the user so.
    """

    path: Path | None
    message: str


def choose_start(model: str, weights: str | None) -> Start:
    """Choose the weight file that a training starts from.

    Args:
        model: a name of `detect models`.
        weights: a file, the name of a known one, `auto`: the registered one of the model if it is
            here, or `synthetic`: what `detect weights pretrain` made. None is from scratch.

    Raises:
        InputError: there is no such file.
    """
    if weights is None:
        return Start(None, f"{model} starts from scratch.")
    if weights == AUTO:
        known = resolve.for_model(model)
        if known is None:
            return Start(None, f"{model} starts from scratch: no weights of it are registered.")
        path = resolve.folder() / known.file
        if not path.is_file():
            missing = f"{known.file} is not here. To start from it, {known.remedy}."
            return Start(None, f"{model} starts from scratch: {missing}")
    elif weights == SYNTHETIC:
        path = resolve.folder() / synthetic_file(model)
        if not path.is_file():
            raise InputError(
                path, "is not here", f"make it with `detect weights pretrain {model}`, or copy it"
            )
    else:
        try:
            path = resolve.find(weights)
        except resolve.MissingWeights as error:
            raise InputError(weights, error.problem, error.remedy) from error
    return Start(path, f"{model} starts from {path}.")


def synthetic_file(model: str) -> str:
    """Return the name of the file that `detect weights pretrain` makes for a model."""
    return f"{SYNTHETIC}-{model}.safetensors"


@dataclass(frozen=True)
class Listed:
    """A weight file that is registered or here.

    Attributes:
        entry: of the register; only the name of a file that is not registered.
        bytes: size of the file here, else as published; None where not known.
        here: whether it is on this machine.
    """

    entry: Known
    bytes: int | None
    here: bool


def list_weights() -> list[Listed]:
    """List every registered file, and what else lies in the folder; no file is opened."""
    known, here = resolve.known_weights(), _files(resolve.folder())
    entries = [*known.values(), *(_unregistered(name) for name in here if name not in known)]
    return [
        Listed(
            entry,
            here[entry.file].stat().st_size if entry.file in here else entry.bytes,
            entry.file in here,
        )
        for entry in entries
    ]


def _unregistered(name: str, **facts: Any) -> Known:
    return Known(name, family="", model="", source="", licence="", **facts)


def add_weights(file: Path, name: str | None = None) -> Path:
    """Copy a weight file into the folder of weights, whole or not at all, and record its sha256.

    Args:
        file: safetensors, or a checkpoint as torch writes it (a zip archive). It is not unpickled.
        name: file name to store it under, or a model whose registered file it is; its own name if
            not given, which then must be a registered one.

    Returns:
        Where it lies now.

    Raises:
        InputError: it cannot be weights, is of no known model, is not the file that its publisher
            described, or other weights have that name.
    """
    if not file.is_file():
        raise InputError(file, "is no file", "give a weight file")
    name = _stored_name(file, name)
    _check_kind(file, Path(name).suffix)
    folder, published = resolve.folder(), resolve.known_weights().get(name)
    index = _read_index(folder)
    with atomic_file(folder / name) as temporary:
        with file.open("rb") as source, temporary.open("wb") as copy:
            fingerprint = _Fingerprint()
            while chunk := source.read(_CHUNK):
                fingerprint.update(chunk)
                copy.write(chunk)
        if published and (why := fingerprint.differs(published)):
            raise InputError(
                file,
                f"is not the published {name}: {why}",
                f"fetch {published.source} again, or give --as another name",
            )
        if (folder / name).exists() and _fingerprint(folder / name).sha256 != fingerprint.sha256:
            raise InputError(
                folder / name, "is there with other content", "delete it, or give --as another name"
            )
    index[name] = {"sha256": fingerprint.sha256, "bytes": fingerprint.bytes}
    write_json(folder / INDEX, index)
    return folder / name


@dataclass(frozen=True)
class Verified:
    """The result of verifying the folder of weights.

    Attributes:
        files: how many were hashed.
        problems: one line each.
        unknown: files that nothing is known to compare with.
    """

    files: int
    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def verify_weights() -> Verified:
    """Hash every file in the folder of weights again and compare with the register and the index.

    Args:

    Raises:
        InputError: the index is damaged.
    """
    folder, known = resolve.folder(), resolve.known_weights()
    index, here = _read_index(folder), _files(folder)
    result = Verified(len(here), [f"{name}: is gone" for name in index if name not in here])
    with progress("verify", len(here)) as advance:
        for name, path in here.items():
            expected = [
                ("published", known[name]) if name in known else None,
                ("added", _unregistered(name, **index[name])) if name in index else None,
            ]
            try:
                fingerprint = _fingerprint(path)
            except OSError as error:
                result.problems.append(f"{name}: cannot be read ({error.strerror})")
                continue
            compared = [e for e in expected if e and (e[1].sha256 or e[1].md5 or e[1].bytes)]
            for which, entry in compared:
                if why := fingerprint.differs(entry):
                    result.problems.append(f"{name}: is not the file that was {which}: {why}")
            if not compared:
                result.unknown.append(name)
            advance(name)
    return result


class _Fingerprint:
    """Size and hashes of bytes as they come."""

    def __init__(self) -> None:
        self.bytes = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)  # some publishers give nothing better

    def update(self, chunk: bytes) -> None:
        self.bytes += len(chunk)
        self._sha256.update(chunk)
        self._md5.update(chunk)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def differs(self, entry: Known) -> str | None:
        """Describe the first difference from a known file; None if there is none."""
        if entry.bytes is not None and entry.bytes != self.bytes:
            return f"{self.bytes} bytes, not {entry.bytes}"
        hashes = (("sha256", entry.sha256, self.sha256), ("md5", entry.md5, self._md5.hexdigest()))
        for kind, expected, actual in hashes:
            if expected is not None and expected != actual:
                return f"{kind} {actual[:12]}…, not {expected[:12]}…"
        return None


def _fingerprint(path: Path) -> _Fingerprint:
    fingerprint = _Fingerprint()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            fingerprint.update(chunk)
    return fingerprint


def _files(folder: Path) -> dict[str, Path]:
    """Name → path of what lies in the folder, but for the index and unfinished files."""
    if not folder.is_dir():
        return {}
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != INDEX and not path.name.startswith(".")
    }


def _read_index(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / INDEX
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(name): {"sha256": str(entry["sha256"]), "bytes": int(entry["bytes"])}
            for name, entry in content.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(path, "is damaged", "delete it and add the files again") from error


def _stored_name(file: Path, name: str | None) -> str:
    if name is None and file.name not in resolve.known_weights():
        raise InputError(
            file,
            "has the name of no registered weights",
            "say what it is with --as: a file or model of `detect weights list`, or your own name",
        )
    known = resolve.for_model(name) if name else None
    name = known.file if known else (name or file.name)
    if not re.fullmatch(r"\w[\w.-]*", name) or name == INDEX:
        raise ParameterError(
            "name", f"`{name}` is no file name", "use letters, digits, `.`, `-`, `_`"
        )
    return name


def _check_kind(file: Path, suffix: str) -> None:
    """Refuse what is not weights by its frame alone: a safetensors header, or torch's zip."""
    from detect.detectors.checkpoints import CHECKPOINTS  # which imports torch

    if suffix not in (".safetensors", *CHECKPOINTS):
        raise ParameterError(
            str(file) if file.suffix == suffix else "name",
            f"`{suffix}` is no kind of weights",
            f"use .safetensors or {', '.join(CHECKPOINTS)}",
        )
    try:
        if suffix == ".safetensors":
            with safe_open(str(file), framework="numpy") as content:
                whole = bool(content.keys())
        else:
            with zipfile.ZipFile(file) as archive:
                whole = any(name.endswith("/data.pkl") for name in archive.namelist())
    except (SafetensorError, zipfile.BadZipFile, OSError, ValueError, RuntimeError):
        whole = False
    if not whole:
        kind = "safetensors" if suffix == ".safetensors" else "checkpoint of torch"
        raise InputError(file, f"is no whole {kind}", "fetch it again")
