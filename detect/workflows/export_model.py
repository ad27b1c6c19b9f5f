"""Export a trained model to other runtimes, and compare each with torch."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from converters.core.errors import InputError, ParameterError
from converters.core.progress import progress
from converters.dataset.folder import open_dataset
from converters.dataset.split import Split, check_sides
from detect.detectors.card import ModelCard, ModelSpec, read_model_card
from detect.detectors.exported import (
    FILES,
    FOLDER,
    Cost,
    Difference,
    Export,
    hashes,
    read_exports,
    start,
    write_export,
)
from detect.detectors.parity import compare
from detect.detectors.predictor import Exported, Runtime, Steps
from detect.detectors.protocol import Predictor
from detect.detectors.registry import load_detector, steps_of
from detect.detectors.runtimes.onnx import OPSET
from detect.evaluation.detect_split import detect_split
from detect.evaluation.metrics import evaluate

FORMATS = ("onnx", "openvino", "torchscript")
COMPARED = 200  # slices
CALIBRATION = 300  # slices; more move no range
BATCH = 8
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class ExportModelResult:
    """The result of an export.

    Attributes:
        name: of the export, and of `--runtime` where there is one.
        files: paths.
        export: what is known of it.
    """

    name: str
    files: list[Path]
    export: Export


def export_model(
    model: Path,
    to: str,
    *,
    int8: bool = False,
    data: Path | None = None,
    overwrite: bool = False,
) -> ExportModelResult:
    """Write a model for another runtime into its bundle, and compare its boxes with torch's.

    Args:
        model: bundle of `detect train`.
        to: of `FORMATS`.
        int8: quantise (OpenVINO only) by slices of train and val, and score the cost on test.
        data: dataset folder whose slices to compare on; phantom slices if not given.
        overwrite: replace an earlier export.

    Raises:
        InputError: a wrong request, a missing package, or a dataset that does not suit.
    """
    if to not in FORMATS:
        raise ParameterError("to", f"`{to}` is no format of models", f"use {', '.join(FORMATS)}")
    if int8 and to != "openvino":
        raise ParameterError("int8", f"is not there for {to}", "use --to openvino")
    if int8 and data is None:
        raise ParameterError(
            "int8", "needs slices to take the ranges of activations from", "give --data DATASET"
        )
    name = f"{to}-int8" if int8 else to
    card = read_model_card(model)
    known = read_exports(model, card)
    if name in known.exports and not overwrite:
        raise InputError(model / FOLDER, f"holds an {name} export", "add --overwrite")
    splits = _splits(card, data, model) if data else {}
    what, pictures = _pictures(card.spec, splits)
    ours = load_detector(model, "cpu")
    steps = steps_of(card.spec)

    calibration = _calibration(steps, splits) if int8 else []
    files, runtime = _write(model, name, ours.traceable(), steps, calibration)
    theirs = Exported(steps, runtime)
    export = Export(
        sha256=hashes(files),
        imgsz=card.spec.imgsz,
        opset=None if to == "torchscript" else OPSET,
        outputs=list(steps.outputs),
        calibration=len(calibration),
        difference=_compare(what, pictures, ours, theirs),
        cost=_cost(card, ours, theirs, splits["test"]) if int8 else None,
        versions=_versions(to),
    )
    write_export(model, known, name, export, files)
    return ExportModelResult(name, [model / FOLDER / file for file in files], export)


def _splits(card: ModelCard, data: Path, model: Path) -> dict[str, Split]:
    from detect.workflows.model_data import check_suits, part_of

    dataset = open_dataset(data)
    check_suits(card.spec, dataset, model)
    check_sides(dataset)
    return {name: part_of(card, dataset, name, model) for name in ("train", "val", "test")}


def _pictures(spec: ModelSpec, splits: dict[str, Split]) -> tuple[str, list[Picture]]:
    """Slices to compare on: of val, then of test and train too; of the phantom if of no dataset."""
    if not splits:
        return "phantom slices", phantom_pictures(spec)
    pictures: list[Picture] = []
    names = []
    for name in ("val", "test", "train"):
        chosen = _spread(splits[name], COMPARED - len(pictures))
        pictures += chosen
        names += [name] * bool(chosen)
    return f"{' and '.join(names)} slices", pictures


def phantom_pictures(spec: ModelSpec) -> list[Picture]:
    """Pictures of a phantom patient, made as the model was trained, without a crop to an organ."""
    from converters.imaging.volume import Volume
    from converters.preprocessing.pictures import pictures
    from detect.phantom import make_case

    hu, _, affine = make_case(seed=1, index=0)
    seen = spec.representation
    if seen.crop == "organ":
        seen = seen.model_copy(update={"crop": "none"})
    slices = pictures(Volume(hu, affine, np.eye(4), seen.modality), seen, "phantom")
    return [slices[z] for z in range(len(slices))]


def _spread(split: Split, count: int) -> list[Picture]:
    """Read slices at even distances."""
    chosen = np.linspace(0, len(split) - 1, min(len(split), count)).round().astype(int)
    return [split.read(int(k)) for k in chosen]


def _compare(
    what: str, pictures: Sequence[Picture], ours: Predictor, theirs: Predictor
) -> Difference:
    """Run both on the same slices."""
    both: tuple[list[Boxes], list[Boxes]] = ([], [])
    with progress("compare", -(-len(pictures) // BATCH)) as advance:
        for first in range(0, len(pictures), BATCH):
            for predictor, boxes in zip((ours, theirs), both, strict=True):
                boxes += predictor.predict(pictures[first : first + BATCH])
            advance("")
    return compare(what, *both)


def _calibration(steps: Steps, splits: dict[str, Split]) -> list[NDArray[np.float32]]:
    pictures = [p for name in ("train", "val") for p in _spread(splits[name], CALIBRATION)]
    chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), CALIBRATION)).round().astype(int)
    return [steps.inputs([pictures[k]]) for k in chosen]


def _write(
    model: Path,
    name: str,
    network: torch.nn.Module,
    steps: Steps,
    calibration: list[NDArray[np.float32]],
) -> tuple[dict[str, bytes], Runtime]:
    """Write a network for a runtime and start it from what was written."""
    side = steps.spec.imgsz
    if name == "torchscript":
        from detect.detectors.runtimes.torchscript import TorchScriptRuntime, to_torchscript

        script = to_torchscript(network, side)
        return dict(zip(FILES[name], [script], strict=True)), TorchScriptRuntime(script)
    from detect.detectors.runtimes.onnx import to_onnx
    from detect.detectors.runtimes.openvino import to_openvino
    from detect.detectors.runtimes.packages import load

    for package in (
        ["onnxruntime"] if name == "onnx" else ["openvino", "nncf"][: 1 + bool(calibration)]
    ):
        load(package, name.partition("-")[0])  # before the work, not after it
    graph = to_onnx(network, side, steps.outputs)
    contents = [graph] if name == "onnx" else to_openvino(graph, calibration)
    files = dict(zip(FILES[name], contents, strict=True))
    return files, start(model / FOLDER / FILES[name][0], name, files, steps, "cpu")


def _cost(card: ModelCard, ours: Predictor, theirs: Predictor, part: Split) -> Cost:
    before, after = (
        evaluate(part.truth, detect_split(predictor, part), card.spec.classes)
        for predictor in (ours, theirs)
    )
    return Cost(
        split=part.name,
        map50_torch=_number(before.map50),
        map50=_number(after.map50),
        map50_95_torch=_number(before.map50_95),
        map50_95=_number(after.map50_95),
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _versions(to: str) -> dict[str, str]:
    packages = {"onnx": ["onnx", "onnxruntime"], "openvino": ["onnx", "openvino", "nncf"]}
    versions = {}
    for name in ["torch", *packages.get(to, [])]:
        with suppress(PackageNotFoundError):  # such as nncf, where nothing was quantised
            versions[name] = version(name)
    return versions


def render_export(result: ExportModelResult) -> str:
    """Describe in words how the export compares with torch."""
    export = result.export
    difference, cost = export.difference, export.cost
    lines = [
        f"Compared with torch on {difference.slices} {difference.pictures}, boxes of score"
        f" {difference.floor} or more: {difference.boxes} matched, {difference.unmatched} not"
    ]
    if difference.px is not None and difference.score is not None:
        lines[0] += f"; at most {difference.px:.2g} px and {difference.score:.2g} in score apart"
    if cost:
        lines.append(
            f"INT8 by {export.calibration} slices of train and val; on {cost.split}"
            f" mAP50 {_figure(cost.map50_torch)} → {_figure(cost.map50)},"
            f" mAP50-95 {_figure(cost.map50_95_torch)} → {_figure(cost.map50_95)}"
        )
    if result.name == "torchscript":
        lines.append("TorchScript holds code: load it only where its sha256 is the one above.")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
