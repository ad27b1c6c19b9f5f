"""Run `detect demo`: from scans on disk to lesions, on data that needs no download."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from converters.conversion.convert import convert
from converters.core.output_folder import check_output
from converters.dataset.manifest import FILE_NAME as MANIFEST
from converters.imaging.nifti import write_nifti
from converters.recipes.catalog import find_recipe
from detect.detectors.settings import TrainSettings
from detect.phantom import make_case, make_phantom
from detect.workflows.evaluate import evaluate
from detect.workflows.predict import PredictResult, predict
from detect.workflows.train import train
from detect.workflows.write_evaluation import EvaluateResult

PATIENTS = 175
# Enough to learn the phantom from scratch in a few minutes on two cores.
SETTINGS = TrainSettings(epochs=9, batch=8, imgsz=160, lr=2e-3, warmup_epochs=1)


@dataclass(frozen=True)
class DemoResult:
    """Hold the results of the demo.

    Attributes:
        folder: of everything.
        evaluation: on patients that were not trained on.
        prediction: on a new scan.
    """

    folder: Path
    evaluation: EvaluateResult
    prediction: PredictResult


def phantom_dataset(
    folder: Path, patients: int = PATIENTS, seed: int = 0, workers: int = 2
) -> Path:
    """Make the phantom's scans and convert them; what is there already is kept.

    Args:
        folder: gets `scans/` and `dataset/`.
        patients: how many.
        seed: of the phantom and the split.
        workers: processes.

    Returns:
        The dataset folder.
    """
    dataset = folder / "dataset"
    if not (dataset / MANIFEST).is_file():
        make_phantom(folder / "scans", patients=patients, seed=seed)
        convert(
            find_recipe("limt"),
            folder / "scans",
            dataset,
            split=(0.7, 0.1, 0.2),
            negatives="train=0.3,val=0.5,test=0.5",
            seed=seed,
            workers=workers,
        )
    return dataset


def demo(
    out: Path,
    *,
    model: str = "yolov8n",
    settings: TrainSettings = SETTINGS,
    patients: int = PATIENTS,
    device: str = "auto",
    workers: int = 2,
    overwrite: bool = False,
) -> DemoResult:
    """Make the phantom, convert it, train, evaluate on unseen patients, predict on a new scan.

    Args:
        out: folder for everything.
        model: what to train, from scratch.
        settings: of the training.
        patients: of the phantom.
        device: `auto`, `cpu`, or a GPU's number.
        workers: processes of the conversion.
        overwrite: replace an earlier demo at `out`.
    """
    check_output(out, overwrite, "an earlier demo", (out / "dataset" / MANIFEST).is_file())
    if out.exists():
        shutil.rmtree(out)
    dataset = phantom_dataset(out, patients, workers=workers)
    run = out / "runs" / model
    settings = settings.model_copy(update={"device": device})
    train(model, dataset, out=run, settings=settings)
    evaluation = evaluate(run, dataset, device=device)
    new_scan = out / "new" / "new-patient.nii.gz"
    _write_new_scan(new_scan, index=patients)
    prediction = predict(run, [new_scan], out=out / "predictions", device=device)
    return DemoResult(out, evaluation, prediction)


def _write_new_scan(path: Path, index: int) -> None:
    """Write the scan of the first patient from `index` on who has a lesion."""
    while True:
        hu, mask, affine = make_case(0, index)
        if mask.max() > 1:
            break
        index += 1
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, hu, affine)
