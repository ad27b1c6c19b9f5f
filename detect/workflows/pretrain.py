"""Pretrain a model on phantom patients: a starting point that needs no download.

The patients are the phantom's, with its own simple lesions, and in the same livers lesions that
`detect.synthesis` grew: of other sizes (those of LiTS), shapes, edges and textures.
"""

from pathlib import Path

from converters.conversion.convert import convert
from converters.core.errors import InputError
from converters.core.output_folder import ResumableFolder
from converters.dataset.manifest import FILE_NAME as MANIFEST
from converters.recipes.catalog import find_recipe
from converters.recipes.recipe import load_recipe
from detect.detectors.card import read_model_card
from detect.detectors.registry import family_of
from detect.detectors.settings import TrainSettings
from detect.phantom import make_phantom
from detect.workflows.synthesize import synthesize
from detect.workflows.train import tool_versions, train
from detect.workflows.weights import add_weights, synthetic_file
from weights import resolve

PATIENTS = 200
SEED = 1  # not the demo's, whose patients are there to be tested on
SIDE = 224  # px of 1.56 mm, as a real abdomen has at 256 px
SETTINGS = TrainSettings(
    epochs=8, batch=8, imgsz=SIDE, lr=2e-3, warmup_epochs=1, negatives=0.3, seed=SEED
)
WORKERS = 2


def pretrain(
    model: str,
    *,
    patients: int = PATIENTS,
    settings: TrainSettings = SETTINGS,
    overwrite: bool = False,
) -> Path:
    """Train on phantom patients, and keep the weights where `--weights synthetic` finds them.

    Interrupted, the same call goes on. The pictures are the same on every machine, to the byte. The
    weights are where processor, number of threads and versions of torch and numpy are the same.

    Args:
        model: a name of `detect models`.
        patients: of the phantom.
        settings: of the training.
        overwrite: replace weights that were made before.

    Returns:
        The file.

    Raises:
        InputError: it is there already, or the model is unknown.
    """
    family_of(model)  # a wrong name must not cost the making of the patients
    file = resolve.folder() / synthetic_file(model)
    if file.exists() and not overwrite:
        raise InputError(file, "is here already", "use it with --weights synthetic, or --overwrite")
    folder = ResumableFolder(resolve.folder() / f".{file.stem}")
    plan = f"{patients} {settings.model_dump_json(exclude={'device', 'workers'})}"
    folder.resume(f"{plan}\n{tool_versions()}\n")
    work = folder.staging
    data = _phantom_dataset(work, patients)
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
        )
    file.unlink(missing_ok=True)
    add_weights(run / read_model_card(run).weights, file.name)
    folder.discard()
    return file


def _phantom_dataset(work: Path, patients: int) -> Path:
    """Make the patients, grow lesions in them and convert them; what is there already is kept."""
    scans, grown, dataset = work / "scans", work / "grown", work / "dataset"
    if not (dataset / MANIFEST).is_file():
        make_phantom(scans, patients, SEED, SIDE)
        synthesis = synthesize(find_recipe("limt"), scans, grown, seed=SEED, workers=WORKERS)
        convert(
            load_recipe(synthesis.recipe),
            grown,
            dataset,
            split=(0.9, 0.1, 0),
            negatives="train=0.5,val=0.5,test=0.5",
            seed=SEED,
            workers=WORKERS,
        )
    return dataset
