"""Read and write `exports/` in a bundle: the model in the formats of other runtimes."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from converters.core.errors import InputError, ParameterError
from converters.core.files import atomic_file, write_json
from detect.detectors.card import ModelCard
from detect.detectors.predictor import Exported, Runtime, Steps
from detect.detectors.protocol import Predictor
from detect.detectors.registry import load_detector, read_known_card, steps_of
from detect.detectors.runtimes.packages import default_threads

FOLDER, FILE_NAME = "exports", "exports.json"
# Names of exports and of their files, which are never read from a bundle.
FILES = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "openvino-int8": ("model-int8.xml", "model-int8.bin"),
    "torchscript": ("model.torchscript",),
}
RUNTIMES = ("torch", "onnx", "openvino", "openvino-int8")


class Difference(BaseModel):
    """The differences between the boxes of an export and torch's.

    Attributes:
        pictures: which were compared.
        slices: their number.
        floor: boxes from this score on, in either, were looked for in the other.
        boxes: how many found their partner.
        unmatched: how many did not.
        px: largest difference of a side of a matched box, px of the picture; None without boxes.
        score: largest difference of its score.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pictures: str
    slices: int
    floor: float
    boxes: int
    unmatched: int
    px: float | None
    score: float | None


class Cost(BaseModel):
    """The accuracy of an export and of torch on the same pictures.

    Attributes:
        split: of the dataset.
        map50_torch, map50: mAP50 of torch and of the export; None where no class has a true box.
        map50_95_torch, map50_95: mAP50-95.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    split: str
    map50_torch: float | None
    map50: float | None
    map50_95_torch: float | None
    map50_95: float | None


class Export(BaseModel):
    """One export.

    Attributes:
        sha256: of each file.
        imgsz: side of the input ``(n, 3, imgsz, imgsz)``, px; RGB planes in [0, 1].
        batch: any number of pictures at once.
        opset: of ONNX, which OpenVINO's is made from too.
        outputs: names of the raw outputs.
        calibration: slices that INT8's ranges are from; 0 for float32.
        difference: from torch.
        cost: measured for INT8.
        versions: of the tools.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: dict[str, str]
    imgsz: int
    batch: Literal["dynamic"] = "dynamic"
    opset: int | None
    outputs: list[str]
    calibration: int = 0
    difference: Difference
    cost: Cost | None = None
    versions: dict[str, str]


class Exports(BaseModel):
    """The content of `exports.json`.

    Attributes:
        weights_sha256: of the weights that were exported.
        exports: by name.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_name: Literal["detect-exports/1"] = Field("detect-exports/1", alias="schema")
    weights_sha256: str
    exports: dict[str, Export] = Field(default_factory=dict)


def read_exports(bundle: Path, card: ModelCard) -> Exports:
    """Read what is exported of a bundle's present weights.

    Raises:
        InputError: `exports.json` is damaged.
    """
    path = bundle / FOLDER / FILE_NAME
    try:
        known = Exports.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Exports(weights_sha256=card.weights_sha256)
    except ValidationError as error:
        raise InputError(path, "is no list of exports", f"delete {path.parent}") from error
    if known.weights_sha256 != card.weights_sha256:
        return Exports(weights_sha256=card.weights_sha256)  # the rest is of another training
    return known


def write_export(
    bundle: Path, known: Exports, name: str, export: Export, files: Mapping[str, bytes]
) -> None:
    """Add an export to a bundle; `exports.json` is written last and makes it whole."""
    for file, content in files.items():
        with atomic_file(bundle / FOLDER / file) as temporary:
            temporary.write_bytes(content)
    whole = known.model_copy(update={"exports": {**known.exports, name: export}})
    write_json(bundle / FOLDER / FILE_NAME, whole.model_dump(mode="json", by_alias=True))


def hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file's content."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def load_predictor(
    bundle: Path, device: str, runtime: str = "torch", threads: int | None = None
) -> Predictor:
    """Load a trained model to predict with.

    Args:
        bundle: of `detect train`.
        device: `auto`, `cpu`, or a GPU's number, which only torch takes.
        runtime: of `RUNTIMES`.
        threads: that its network runs in on a CPU; None takes the usual number.

    Raises:
        InputError: no such model, or no such export of it, or one that was changed.
    """
    if runtime not in RUNTIMES:
        raise ParameterError("runtime", f"`{runtime}` is no runtime", f"use {', '.join(RUNTIMES)}")
    if runtime == "torch":
        detector = load_detector(bundle, device)
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        return detector
    card = read_known_card(bundle)
    steps = steps_of(card.spec)
    return Exported(steps, _load(bundle, card, steps, device, runtime, threads))


def _load(
    bundle: Path, card: ModelCard, steps: Steps, device: str, name: str, threads: int | None
) -> Runtime:
    known = read_exports(bundle, card).exports.get(name)
    if known is None:
        kind, _, int8 = name.partition("-")
        how = f"detect export {bundle} --to {kind}{' --int8 --data DATASET' if int8 else ''}"
        raise InputError(bundle, f"holds no {name} export of its weights", f"run {how}")
    files = _read(bundle, name, known)
    path = bundle / FOLDER / FILES[name][0]
    return start(path, name, files, steps, device, threads)


def start(
    path: Path,
    name: str,
    files: Mapping[str, bytes],
    steps: Steps,
    device: str,
    threads: int | None = None,
) -> Runtime:
    """Start the runtime of an export.

    Args:
        path: of its first file, for messages.
        name: of the export.
        files: content of its files.
        steps: of its family.
        device: `auto` or `cpu`.
        threads: to run in; None takes the usual number.

    Raises:
        InputError: a missing package, or no model that it runs.
    """
    contents = [files[file] for file in FILES[name]]
    threads = threads or default_threads()
    if name == "onnx":
        from detect.detectors.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(path, contents[0], steps.outputs, device, threads)
    from detect.detectors.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime(path, contents[0], contents[1], steps.outputs, device, threads)


def _read(bundle: Path, name: str, known: Export) -> dict[str, bytes]:
    """Read an export's files once, so that what was hashed is what runs."""
    files = {}
    for file in FILES[name]:
        path = bundle / FOLDER / file
        if not path.resolve().is_relative_to(bundle.resolve()):
            raise InputError(path, "lies outside its own bundle", "do not use this model")
        if not path.is_file():
            raise InputError(path, "is missing", "copy the whole folder, or export again")
        files[file] = path.read_bytes()
    if hashes(files) != known.sha256:
        raise InputError(
            bundle / FOLDER / FILES[name][0],
            f"is not the file {FILE_NAME} was written for",
            "copy it again, or export again with --overwrite",
        )
    return files
