"""A starting point that needs no download: a model trained on made-up patients."""

import shutil
from pathlib import Path

from converters.errors import InputError
from detect.demo import phantom_dataset
from detect.detectors.registry import family_of
from detect.settings import TrainSettings
from detect.train import train
from detect.weights import add_weights, synthetic_file
from weights import resolve

PATIENTS = 200
SEED = 1  # not the demo's, whose patients are there to be tested on
SETTINGS = TrainSettings(epochs=20, batch=8, imgsz=160, warmup_epochs=1, seed=SEED)


def pretrain(
    model: str,
    *,
    patients: int = PATIENTS,
    settings: TrainSettings = SETTINGS,
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Train on the phantom, and keep the weights where `--weights synthetic` finds them.

    Interrupted, the same call goes on. Model and settings decide the file, whatever the machine has
    besides.

    Args:
        model: a name of `detect models`.
        patients: of the phantom.
        settings: of the training.
        overwrite: replace weights that were made before.
        quiet: no progress bar.

    Returns:
        The file.

    Raises:
        InputError: it is there already, or the model is unknown.
    """
    family_of(model)  # a wrong name must not cost the making of the phantom
    file = resolve.folder() / synthetic_file(model)
    if file.exists() and not overwrite:
        raise InputError(file, "is here already", "use it with --weights synthetic, or --overwrite")
    work = resolve.folder() / f".{file.stem}.partial"
    data = phantom_dataset(work / "phantom", patients, SEED, quiet=quiet)
    run, partial = work / "run", work / "run.partial"
    resume = (partial / "weights" / "resume.pt").is_file()
    if not run.exists():
        train(
            model,
            data,
            out=run,
            settings=settings,
            resume=resume,
            overwrite=not resume,
            quiet=quiet,
        )
    file.unlink(missing_ok=True)
    add_weights(run / "weights" / "best.safetensors", file.name)
    shutil.rmtree(work)
    return file
