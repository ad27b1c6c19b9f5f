"""Train a detector on a dataset folder; the run becomes a model bundle when it is whole."""

import json
import platform
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from converters.core.distribution import installed_version
from converters.core.errors import InputError, ParameterError
from converters.core.files import sha256, write_json
from converters.core.output_folder import ResumableFolder
from converters.core.progress import SilentReporter, progress, report_to
from converters.dataset.fingerprint import trained_on
from converters.dataset.folder import Dataset, open_dataset
from converters.dataset.folds import Fold, fold_splits
from converters.dataset.manifest import FILE_NAME as MANIFEST
from converters.dataset.split import Split, load_split
from detect.detectors.base import Detector, TrainingRun
from detect.detectors.card import ModelCard, ModelSpec
from detect.detectors.registry import count_parameters, create_detector, family_of
from detect.detectors.settings import TrainSettings, parse_duration
from detect.evaluation.detect_split import detect_split
from detect.evaluation.findings.score import fit_linking
from detect.evaluation.matching import match
from detect.evaluation.metrics import Metrics, measure
from detect.evaluation.operating_choice import choose_point
from detect.linking.linking import DEFAULT
from detect.training import distributed as processes
from detect.training.budget import epochs_within
from detect.training.image_size import checked_size, picture_size, size_for_lesions
from detect.training.sampler import EpochSlices
from detect.workflows.weights import choose_start

# What may differ between an interrupted run and the one that resumes it.
_FREE_ON_RESUME = {"device", "workers"}


@dataclass(frozen=True)
class TrainResult:
    """The result of a training run.

    Attributes:
        bundle: folder of the model.
        metrics: of the kept epoch on val, see `kept_weights`.
        card: its `model.json`.
        note: one line where val did not give the operating point that was asked for, else empty.
    """

    bundle: Path
    metrics: Metrics
    card: ModelCard
    note: str = ""


def train(
    model: str,
    data: str | Path,
    *,
    out: str | Path | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
    settings: TrainSettings | None = None,
    fold: Fold | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> TrainResult:
    """Train a detector.

    Args:
        model: a name of `detect models`.
        data: dataset folder.
        out: bundle to make; `runs/MODEL` if not given, or `runs/MODEL-foldI`. Until it is whole it
            is `OUT.partial`.
        weights: file to start from, the name of a known one, or `auto`: the registered one if it
            is here; None trains from scratch.
        trust: unpickle a weight file that holds more than tensors.
        settings: of the training.
        fold: train on this fold of the whole dataset, not on its train and val; the model says so,
            and `evaluate` then scores it on the patients that the fold left out.
        resume: go on with the interrupted run in `OUT.partial`.
        overwrite: replace what lies at `out`.

    Raises:
        InputError: the request, the dataset or the weights are wrong.
    """
    began = time.monotonic()
    processes.join()
    request = _request(
        model, Path(data), Path(out) if out else None, weights, settings or TrainSettings(), fold
    )
    first = processes.is_first()
    if first:
        _check_run_dir(request, resume, overwrite)
    if request.settings.budget:
        request = replace(request, settings=_within_budget(request, began, resume))

    torch.manual_seed(request.settings.seed)  # before the network draws its first weights
    detector = create_detector(request.spec, request.settings.device)
    if request.weights and not resume:
        detector.load_weights(request.weights, trust)
    if first and not resume:  # from here on the request is right, and a stop leaves something
        ResumableFolder(request.out).discard()
        write_json(request.run_dir / "request.json", request.to_json())
    processes.wait()
    with nullcontext() if first else report_to(SilentReporter()):
        with progress(f"train {model}", request.settings.epochs) as advance:
            run = TrainingRun(*request.splits, request.settings, request.run_dir, resume, advance)
            kept = detector.train(run)
        processes.wait()
        return _finish(request, detector, kept)


@dataclass(frozen=True)
class _Request:
    """A training as it was asked for, resolved for its dataset.

    Attributes:
        spec: of the detector.
        settings: with the number of epochs.
        splits: train and val.
        dataset: that they are of.
        fold: of the dataset.
        weights: file to start from; None is from scratch.
        started_from, dataset_sha256, imgsz_reason: see `ModelCard`.
        out: bundle to make.
    """

    spec: ModelSpec
    settings: TrainSettings
    splits: tuple[Split, Split]
    dataset: Dataset
    fold: Fold | None
    weights: Path | None
    started_from: str
    dataset_sha256: str
    imgsz_reason: str
    out: Path

    @property
    def run_dir(self) -> Path:
        """The folder of the run until it is a bundle."""
        return ResumableFolder(self.out).staging

    def to_json(self) -> dict[str, Any]:
        """Return the content of `request.json`, which a resumed run must repeat."""
        return {
            "spec": self.spec.model_dump(mode="json"),
            "settings": self.settings.model_dump(mode="json"),
            "started_from": self.started_from,
            "dataset_sha256": self.dataset_sha256,
            "fold": str(self.fold) if self.fold else None,
        }


def _request(
    model: str,
    data: Path,
    out: Path | None,
    weights: str | Path | None,
    settings: TrainSettings,
    fold: Fold | None,
) -> _Request:
    """Open the dataset and resolve what depends on it."""
    family = family_of(model)
    weight_file = choose_start(model, None if weights is None else str(weights)).path
    dataset = open_dataset(data)
    if fold:
        folded = fold_splits(dataset, fold)
        splits = folded["train"], folded["val"]
    else:
        splits = load_split(dataset, "train"), load_split(dataset, "val")
    if not splits[0].boxes:
        raise InputError(data, "has no box in train", "convert with another --split")
    if settings.iterations:
        steps = EpochSlices.for_training(splits[0], settings).steps(settings.batch)
        epochs = -(-settings.iterations // steps)
        settings = settings.model_copy(update={"epochs": epochs})
    imgsz, reason = _imgsz(settings.imgsz, splits[0], dataset)
    spec = ModelSpec(
        representation=dataset.manifest.request.recipe.representation,
        family=family,
        model=model,
        classes=dataset.manifest.class_names,
        imgsz=imgsz,
    )
    return _Request(
        spec=spec,
        settings=settings,
        splits=splits,
        dataset=dataset,
        fold=fold,
        weights=weight_file,
        started_from=(
            f"{weight_file.name} sha256:{sha256(weight_file)}" if weight_file else "scratch"
        ),
        dataset_sha256=sha256(dataset.folder / MANIFEST),
        imgsz_reason=reason,
        out=out or Path("runs") / (f"{model}-fold{fold.number}" if fold else model),
    )


def _within_budget(request: _Request, began: float, resume: bool) -> TrainSettings:
    """Let the budget decide the epochs; an interrupted run goes on with those it had."""
    settings = request.settings
    assert settings.budget is not None  # noqa: S101  (the caller asked)
    if processes.world() > 1:
        raise ParameterError("budget", "is for training on one device", "give --epochs")
    if resume:
        before = json.loads((request.run_dir / "request.json").read_text(encoding="utf-8"))
        epochs = int(before["settings"]["epochs"])
    else:
        left = parse_duration(settings.budget) - (time.monotonic() - began)
        epochs = epochs_within(
            left,
            lambda: create_detector(request.spec, settings.device),
            *request.splits,
            settings,
        )
    return settings.model_copy(update={"epochs": epochs})


def _imgsz(asked: int | str | None, split: Split, dataset: Dataset) -> tuple[int, str]:
    """Decide the side of the input, px, and say why where that is not plain."""
    if isinstance(asked, int):
        return checked_size(asked), ""
    if asked is None:
        return picture_size(split), ""
    cases = dataset.manifest.cases
    return size_for_lesions(split, {c.id: c.placed.spacing(c.spacing_mm) for c in cases})


def _check_run_dir(request: _Request, resume: bool, overwrite: bool) -> None:
    """Refuse to begin where something else lies, or to resume another run."""
    out, run_dir = request.out, request.run_dir
    if not out.name.strip("."):
        raise ParameterError("out", f"`{out}` cannot be replaced as a whole", "name a new folder")
    if resume and overwrite:
        raise ParameterError("resume", "contradicts --overwrite", "give one of them")
    if out.exists() and not overwrite:
        remedy = "there is nothing to resume" if resume else "give another --out, or --overwrite"
        raise InputError(out, "is a finished model" if resume else "exists", remedy)
    if out.exists() and not _is_run(out):
        raise InputError(out, "is no model, and will not be overwritten", "give another --out")
    if resume:
        _check_resume(run_dir, request.to_json())
    elif run_dir.exists() and not overwrite:
        raise InputError(
            run_dir, "holds an interrupted run", "go on with --resume, or start with --overwrite"
        )


def _is_run(folder: Path) -> bool:
    return (folder / "model.json").is_file() or (folder.is_dir() and not any(folder.iterdir()))


def _check_resume(run_dir: Path, request: dict[str, Any]) -> None:
    try:
        before = json.loads((run_dir / "request.json").read_text(encoding="utf-8"))
        old, new = (_flat(r, "") for r in (before, request))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            run_dir, "holds no interrupted run", "start one without --resume"
        ) from error
    free = _FREE_ON_RESUME | ({"epochs"} if new["settings.budget"] else set())
    for key, value in new.items():
        if key.split(".")[-1] not in free and old.get(key) != value:
            raise InputError(
                run_dir,
                f"was started with {key} = {old.get(key)}, not {value}",
                "resume with the same settings",
            )


def _flat(content: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _finish(request: _Request, detector: Detector, kept: Path) -> TrainResult:
    """Score the kept epoch on val, freeze its operating point, and make the run a bundle."""
    train, val = request.splits
    manifest, run_dir = request.dataset.manifest, request.run_dir
    detections = detect_split(detector, val)
    classes = detector.spec.classes
    matches = match(val.truth, detections, len(classes))
    point, note = choose_point(matches, val, request.settings.operating_point)
    metrics = measure(matches, classes, point.confidence if point else None)
    seen = set(train.case_ids)
    card = ModelCard(
        spec=detector.spec,
        parameters=count_parameters(detector.spec.model, len(classes)),
        weights=kept.relative_to(run_dir).as_posix(),
        weights_sha256=sha256(kept),
        operating_point=point,
        linking=fit_linking(val, detections, point.confidence) if point else DEFAULT,
        started_from=request.started_from,
        training=request.settings.model_dump(mode="json"),
        imgsz_reason=request.imgsz_reason,
        dataset_sha256=request.dataset_sha256,
        trained_on=trained_on(
            [case for case in manifest.cases if case.id in seen], manifest.body_parts
        ),
        codes=manifest.codes,
        fold=request.fold,
        versions=tool_versions(),
    )
    processes.wait()  # until all have read what the first one now moves away
    if not processes.is_first():
        return TrainResult(request.out, metrics, card, note)
    write_json(run_dir / "metrics.json", {"split": "val", **metrics.to_json()})
    for leftover in ("request.json", "weights/resume.pt"):
        (run_dir / leftover).unlink(missing_ok=True)
    card.write(run_dir)
    ResumableFolder(request.out).publish()
    return TrainResult(request.out, metrics, card, note)


def tool_versions() -> dict[str, str]:
    """Return the versions of the packages that a model's numbers depend on."""
    parts = (
        "detect", "torch", "torchvision", "ultralytics", "transformers", "pytorch-lightning",
        "albumentations", "numpy",
    )  # fmt: skip
    return {
        "python": platform.python_version(),
        **{part: installed_version(part) for part in parts},
    }
