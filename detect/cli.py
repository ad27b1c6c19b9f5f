"""The command line: one verb, one function; imports wait until a verb needs them."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.exceptions import Abort, TyperException

from converters.errors import InputError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="CT scans with voxel lesion masks in; trained, honestly measured 2D detectors out.",
)

RULES = "f1, sensitivity=S, fp-per-image=N or fp-per-scan=N"
Out = Annotated[Path, typer.Option(help="Folder to make.")]
Data = Annotated[Path, typer.Option(help="Dataset folder of `detect convert`.")]
Bundle = Annotated[Path, typer.Option("--model", help="Model folder of `detect train`.")]
Device = Annotated[str, typer.Option(help="auto, cpu, or a GPU's number.")]
Runtime = Annotated[
    str, typer.Option(help="torch, onnx, openvino or openvino-int8, of `detect export`.")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Dask cluster to use instead of --workers; it must share the file system.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**31, help="Seed of everything random.")]
Protocol = Annotated[str | None, typer.Option(help="Published settings as defaults: limt.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what lies at --out.")]


@app.command()
def demo(
    out: Out = Path("demo"),
    device: Device = "auto",
    workers: Workers = 2,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Walk the whole path on a built-in phantom: convert, train, evaluate, predict."""
    from detect.demo import demo as run
    from detect.evaluation.table import render_table

    result = run(out, device=device, workers=workers, overwrite=overwrite, quiet=quiet)
    _print("Phantom patients that were not trained on:")
    _print(render_table(result.evaluation.metrics))
    _print("Pictures (truth green, predictions with class and score):")
    for picture in result.evaluation.pictures:
        _print(f"  {picture}")
    _print_lesions(result.prediction)
    return 0


@app.command()
def convert(
    recipe: Annotated[list[str], typer.Argument(help="Names of `detect datasets`, or YAML files.")],
    root: Annotated[
        list[Path], typer.Option(help="Folder of the scans and masks; one for each recipe.")
    ],
    out: Out,
    targets: Annotated[str, typer.Option(help="What to find: lesions or organs.")] = "lesions",
    classes: Annotated[
        str | None,
        typer.Option(help="Merge classes: `lesion`, a merging of the recipe, or new=old+old,…"),
    ] = None,
    negatives: Annotated[
        str,
        typer.Option(help="Slices without a lesion: all, none, a ratio, or by split."),
    ] = "train=1,val=all,test=all",
    split: Annotated[
        str, typer.Option(help="Weights of train, val, test patients; or: published.")
    ] = "70,15,15",
    split_file: Annotated[
        Path | None, typer.Option(help="YAML or JSON lists train, val, test instead.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="LEVEL,WIDTH in HU, or LOW%,HIGH% of the body's values.")
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="gray, adjacent:MM (z - MM, z, z + MM), or windows.")
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(help="none, body, or organ (from the mask: evaluate only, no predict)."),
    ] = None,
    spacing: Annotated[
        float | None, typer.Option(help="Resample pixels to so many mm; 0: the scan's own.")
    ] = None,
    min_size_mm: Annotated[float, typer.Option(help="Drop boxes of a smaller diameter.")] = 0.0,
    resample_mask: Annotated[
        bool, typer.Option("--resample-mask", help="Put masks on another grid onto the scan's.")
    ] = False,
    seed: Seed = 0,
    workers: Workers = 2,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Slice scans into a dataset folder, with boxes from their masks."""
    from converters.convert import convert as run
    from detect.recipes import find_recipe, wanted_recipe, with_pictures

    if len(root) != len(recipe):
        raise InputError("--root", f"is given {len(root)} times", "give one for each recipe")
    given = [with_pictures(find_recipe(name), window, channels, crop, spacing) for name in recipe]
    wanted = [wanted_recipe(one, targets, classes) for one in given]
    first, *more = zip(wanted, root, strict=True)
    result = run(
        *first,
        out,
        more=more,
        split="published" if split == "published" else _numbers("--split", split),
        split_file=split_file,
        negatives=negatives,
        min_size_mm=min_size_mm,
        resample_mask=resample_mask,
        seed=seed,
        workers=workers,
        scheduler=scheduler,
        overwrite=overwrite,
        quiet=quiet,
    )
    cases = result.manifest.cases
    if result.manifest.request.recipe.crop == "organ":
        _print("Organ crops need a mask: a model trained on them can be scored, not predict.")
    for warning in result.warnings:
        _print(f"warning: {warning}")
    if result.up_to_date:
        _print(f"{out}: up to date")
    _print(
        f"{out}: {len(cases)} cases of {len({c.patient for c in cases})} patients,"
        f" {sum(c.slices for c in cases)} slices,"
        f" {sum(sum(c.boxes.values()) for c in cases)} boxes"
        f" ({sum(c.small_boxes for c in cases)} under 3 mm,"
        f" {sum(c.dropped_boxes for c in cases)} dropped),"
        f" {sum(sum(c.lesions.values()) for c in cases)} lesions"
    )
    for case, reason in result.left_out.items():
        _print(f"  {case} left out: {reason}")
    for note, count in Counter(note for c in cases for note in c.notes).items():
        own = [c.id for c in cases if note in c.notes]
        _print(f"{own[0]}{f' and {count - 1} more cases' if count > 1 else ''}: {note}")
    return _list_errors(result.errors)


@app.command()
def check(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")],
    other: Annotated[
        Path | None, typer.Argument(help="Another, to search for patients that both show.")
    ] = None,
    look: Annotated[
        bool, typer.Option("--look/--no-look", help="Compare cases by their pictures.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder for pictures of suspected pairs, side by side.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Suspicions across two sides end with code 1 too.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Audit a dataset, or two: files, boxes, classes, and no patient on two sides."""
    from converters.check import check as run
    from converters.same_patient import same_patient
    from converters.side_by_side import check_out, write_suspicions

    if out is not None:
        check_out(out, overwrite)
    folders = [dataset] if other is None else [dataset, other]
    problems = [problem for folder in folders for problem in run(folder, quiet)]
    found = same_patient(dataset, other, look=look, quiet=quiet)
    problems += found.certain
    for line in [*problems, *found.notes, *map(str, found.suspicions)]:
        _print(line)
    if out is not None:
        write_suspicions(found.suspicions, out, overwrite)
    across = sum(s.two_sides for s in found.suspicions)
    verdict = f"{len(problems)} problems" if problems else "sound"
    if found.suspicions:
        verdict += (
            f"; {len(found.suspicions)} of {found.pairs} pairs of cases suspected to be one"
            f" patient, {across} of them on two sides; that is no proof: look at them"
            f" {f'in {out}' if out else 'with --out FOLDER'}"
        )
    _print(f"{' and '.join(map(str, folders))}: {verdict}")
    return 1 if problems or (strict and across) else 0


@app.command()
def train(
    model: Annotated[str, typer.Option(help="A name of `detect models`.")],
    data: Annotated[
        Path | None, typer.Option(help="Dataset folder; the built-in phantom if not given.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make [runs/MODEL].")] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="File to start from, or auto: the model's if here [from scratch]."),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Unpickle the weight file in full: it can run code.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data [100].")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images a step [16].")] = None,
    imgsz: Annotated[int | None, typer.Option(min=32, max=4096, help="Input side, px.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of AdamW.")] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=0, help="Stop after so many epochs without a better val mAP50 [50]."),
    ] = None,
    protocol: Protocol = None,
    fold: Annotated[
        str | None,
        typer.Option(metavar="I/K", help="Cross-validate by patient: leave out part I of K."),
    ] = None,
    fold_seed: Annotated[
        int, typer.Option(min=0, max=2**31, help="Deals the patients to the folds.")
    ] = 0,
    operating_point: Annotated[
        str | None, typer.Option(help=f"Confidence to freeze on val: {RULES} [f1].")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    seed: Seed = 0,
    device: Annotated[
        str, typer.Option(help="auto, cpu, a GPU's number, or several as 0,1.")
    ] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Image loading processes.")] = 4,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Train a detector and freeze its operating point on val."""
    from detect.demo import SETTINGS, phantom_dataset
    from detect.detectors.registry import family_of
    from detect.model_card import parse_fold
    from detect.processes import is_first, run_on
    from detect.settings import TrainSettings, protocol_settings, resolve_settings
    from detect.train import train as run
    from detect.weights import choose_start

    family = family_of(model)  # a wrong name must not cost the making of the phantom
    chosen_fold = parse_fold(fold, fold_seed) if fold else None
    if "," in device and (code := run_on(device)) is not None:
        return code

    given: dict[str, Any] = {
        "epochs": epochs, "batch": batch, "imgsz": imgsz, "lr": lr, "patience": patience,
        "operating_point": operating_point,
    }  # fmt: skip
    given = {key: value for key, value in given.items() if value is not None}
    base = TrainSettings() if data else SETTINGS
    if protocol is not None:
        given = protocol_settings(protocol, family) | given
    said = choose_start(model, weights).said  # nor may weights that are not here
    if data is None:
        _print("No --data given: training on the built-in phantom (made in ./phantom).")
        data = phantom_dataset(Path("phantom"), quiet=quiet)
    given |= {"seed": seed, "device": device, "workers": workers}
    settings = resolve_settings(base, given)
    if not resume:
        _print(said)
    result = run(
        model,
        data,
        out=out,
        weights=weights,
        trust=trust,
        settings=settings,
        fold=chosen_fold,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
    )
    if not is_first():
        return 0
    _print("Best epoch on val:")
    _print_metrics(result.metrics, result.card.operating_point, [result.note])
    _print(f"Model: {result.bundle}")
    return 0


@app.command()
def evaluate(
    data: Data,
    model: Annotated[Path | None, typer.Option(help="Model folder of `detect train`.")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Or COCO results, a folder of YOLO labels, or of label volumes."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    out: Annotated[
        Path | None, typer.Option(help="Folder [MODEL or runs/NAME, /evaluation-SPLIT].")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of what made the --predictions [their file's name].")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Of label volumes: CLASS=NUMBER,… [the dataset's own].")
    ] = None,
    box_score: Annotated[
        str | None,
        typer.Option(
            "--score",
            help="Of label volumes' boxes: mean or max (probability), volume, constant"
            " [mean with probabilities, else constant].",
        ),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Of --predictions: boxes from here on count.")
    ] = None,
    val_predictions: Annotated[
        Path | None, typer.Option(help="For val, to choose the confidence on.")
    ] = None,
    operating_point: Annotated[
        str | None, typer.Option(help=f"With --val-predictions: {RULES} [f1].")
    ] = None,
    pictures: Annotated[int, typer.Option(min=0, help="Slices with lesions to draw.")] = 12,
    device: Device = "auto",
    runtime: Runtime = "torch",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Score a model, or detections from elsewhere: boxes, FROC, lesions, scans, with intervals."""
    from detect.evaluate import evaluate as run
    from detect.evaluate_predictions import evaluate_predictions
    from detect.evaluation.study_table import render_study

    common: dict[str, Any] = {
        "split": split, "out": out, "pictures": pictures, "overwrite": overwrite, "quiet": quiet,
    }  # fmt: skip
    of_predictions: dict[str, Any] = {
        "name": name, "labels": labels, "score": box_score, "confidence": confidence,
        "val_predictions": val_predictions, "operating_point": operating_point,
    }  # fmt: skip
    if predictions is not None and model is None:
        result = evaluate_predictions(predictions, data, **of_predictions, **common)
    elif model is not None and predictions is None:
        for option, value in of_predictions.items():
            if value is not None:
                given = "--" + option.replace("_", "-")
                raise InputError(given, "is for --predictions", "leave it out")
        result = run(model, data, device=device, runtime=runtime, **common)
    else:
        raise InputError("--model, --predictions", "are alternatives", "give one of them")
    _print_metrics(result.metrics, result.point, result.notes)
    linked = result.linked.linked if result.linked else None
    _print(render_study(result.metrics, result.study, linked))
    _print(f"{result.folder}: report.html, metrics.json, {len(result.pictures)} pictures")
    return 0


@app.command("operating-point")
def operating_point(
    rule: Annotated[str, typer.Argument(help=f"{RULES[0].upper()}{RULES[1:]}.")],
    model: Bundle,
    data: Data,
    device: Device = "auto",
    quiet: Quiet = False,
) -> int:
    """Choose a model's confidence anew on val, without training, and store it in the model."""
    from detect.operating_point import set_operating_point

    result = set_operating_point(model, data, rule, device=device, quiet=quiet)
    _print("On val:")
    _print_metrics(result.metrics, result.point, [result.note])
    _print(f"{model}: from confidence {result.point.confidence:.4g} on, boxes count as found")
    return 0


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Folder of `detect evaluate`.")],
    second: Annotated[Path, typer.Argument(help="Another, of the same pictures.")],
    out: Annotated[Path | None, typer.Option(help="JSON file to write too.")] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> int:
    """Compare two detectors on the same patients: difference, 95 % interval and p."""
    from detect.compare import compare as run
    from detect.compare import render_comparison

    _print(render_comparison(run(first, second, out=out, seed=seed, overwrite=overwrite)))
    return 0


@app.command()
def predict(
    scans: Annotated[list[Path], typer.Argument(help="Scan files, DICOM folders, or folders.")],
    model: Annotated[
        list[Path], typer.Option(help="Model folder of `detect train`; several are an ensemble.")
    ],
    out: Out,
    confidence: Annotated[
        float | None, typer.Option(help="Report boxes from here [the model's operating point].")
    ] = None,
    dicom_sr: Annotated[
        bool, typer.Option("--dicom-sr", help="Write a DICOM SR of a series; it names the patient.")
    ] = False,
    dicom_seg: Annotated[
        bool, typer.Option("--dicom-seg", help="And a DICOM SEG of the boxes; so does it.")
    ] = False,
    keep_identifiers: Annotated[
        bool,
        typer.Option("--keep-identifiers", help="Name DICOM cases by their folders, not a hash."),
    ] = False,
    device: Device = "auto",
    runtime: Runtime = "torch",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Find lesions in new scans and place them in patient space."""
    from detect.predict import predict as run

    result = run(
        model,
        scans,
        out=out,
        confidence=confidence,
        dicom_sr=dicom_sr,
        dicom_seg=dicom_seg,
        keep_identifiers=keep_identifiers,
        device=device,
        runtime=runtime,
        overwrite=overwrite,
        quiet=quiet,
    )
    _print_lesions(result)
    return _list_errors(result.errors)


@app.command()
def export(
    source: Annotated[
        Path, typer.Argument(metavar="DATASET|RUN", help="Dataset, or model of `detect train`.")
    ],
    to: Annotated[
        str,
        typer.Option(
            help="Of a dataset: coco, yolo, voc, rfdetr, cvat, labelstudio, createml or csv;"
            " of a model: onnx, openvino or torchscript."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to make, of a dataset.")] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Hard-link the pictures instead of copying them.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise for OpenVINO, and score what it costs.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Dataset to compare a model and quantise on [compare on phantom]."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier export.")
    ] = False,
    quiet: Quiet = False,
) -> int:
    """Write a dataset in another tool's layout, or a model for another runtime."""
    from detect.export import export as run
    from detect.export_model import ExportModelResult, render_export

    result = run(source, to, out, link=link, int8=int8, data=data, overwrite=overwrite, quiet=quiet)
    if isinstance(result, ExportModelResult):
        for path in result.files:
            _print(f"{path}: sha256 {result.export.sha256[path.name]}")
        _print(render_export(result))
        return 0
    _print(
        f"{out}: {result.images} images ({result.negatives} without a box), {result.boxes} boxes;"
        " README.txt says how to read them"
    )
    return 0


@app.command()
def benchmark(
    data: Data,
    models: Annotated[str, typer.Option(help="Names of `detect models`, with commas between.")],
    out: Out = Path("benchmark"),
    folds: Annotated[
        int | None, typer.Option(min=2, help="Cross-validate by patient in so many rounds.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each model and fold.")] = 1,
    weights: Annotated[
        str | None, typer.Option(help="To start from, as for `detect train`.")
    ] = None,
    protocol: Protocol = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data [100].")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images a step [16].")] = None,
    imgsz: Annotated[int | None, typer.Option(min=32, max=4096, help="Input side, px.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of AdamW.")] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=0, help="Stop after so many epochs without a better val mAP50 [50]."),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Image loading processes.")] = 4,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Train several models and compare accuracy, speed and memory; stopped, it goes on."""
    from detect.benchmark import benchmark as run
    from detect.benchmarking.results import render_summaries
    from detect.settings import TrainSettings, resolve_settings

    given: dict[str, Any] = {
        "epochs": epochs, "batch": batch, "imgsz": imgsz, "lr": lr, "patience": patience,
    }  # fmt: skip
    given = {key: value for key, value in given.items() if value is not None}
    given |= {"seed": seed, "device": device, "workers": workers}
    result = run(
        data,
        [name.strip() for name in models.split(",") if name.strip()],
        out=out,
        folds=folds,
        seeds=seeds,
        weights=weights,
        protocol=protocol,
        settings=resolve_settings(TrainSettings(), given),
        overwrite=overwrite,
        quiet=quiet,
    )
    _print(render_summaries(result.summaries))
    _print(f"{out}: report.html, benchmark.md, benchmark.csv, benchmark.png, curves.png")
    return _list_errors(result.errors)


@app.command()
def datasets(
    name: Annotated[
        str | None, typer.Argument(help="A recipe to describe, with the commands to run.")
    ] = None,
) -> int:
    """List the known public datasets, or describe one."""
    from detect.datasets import datasets_table, describe_dataset

    _print(describe_dataset(name) if name else datasets_table())
    return 0


@app.command()
def models(
    classes: Annotated[int, typer.Option(min=1, help="Number of lesion classes.")] = 4,
    quiet: Quiet = False,
) -> int:
    """List the models, with parameters counted on the built networks."""
    from detect.models import models_table

    _print(models_table(classes, quiet=quiet))
    return 0


weights_app = typer.Typer(help="Weight files to start from: list, add, verify.")
app.add_typer(weights_app, name="weights")


@weights_app.command("list")
def list_weights() -> int:
    """List the known weight files, which of them are here, and where they belong."""
    from detect.weights import list_weights as run

    _print(run())
    return 0


@weights_app.command("add")
def add_weights(
    file: Annotated[Path, typer.Argument(help="Weight file.")],
    name: Annotated[
        str | None, typer.Option("--as", help="File or model name to keep it under [its own].")
    ] = None,
) -> int:
    """Copy a weight file to where `--weights` finds it by name, and record its hash."""
    from detect.weights import add_weights as run

    _print(f"{run(file, name)}: added")
    return 0


@weights_app.command("verify")
def verify_weights(quiet: Quiet = False) -> int:
    """Hash all weight files again and list those that have changed."""
    from detect.weights import verify_weights as run

    result = run(quiet=quiet)
    for name in result.unknown:
        _print(f"{name}: no hash is known to compare with; `detect weights add` records one")
    for problem in result.problems:
        _print(problem)
    _print(f"{result.files} files, {len(result.problems)} problems")
    return 1 if result.problems else 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0: done, 1: some inputs failed, 2: the request is wrong."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        arguments = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
        result = app(args=arguments, standalone_mode=False, prog_name="detect")
        return int(result or 0)
    except InputError as error:
        return _wrong(str(error))
    except TyperException as error:
        return _wrong(" ".join(error.format_message().split()))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _wrong(f"{where}{error.strerror or error}. Mend that and run the command again.")
    except (KeyboardInterrupt, Abort):
        return _wrong("interrupted; run the same command again to go on", code=130)


def _wrong(message: str, code: int = 2) -> int:
    typer.echo(f"error: {message}", err=True)
    return code


def _print(what: Any) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=isinstance(what, str))
    if not console.is_terminal:
        console.width = 160  # a pipe has no width: never squeeze a table for it
    console.print(what)


def _print_metrics(metrics: Any, point: Any, notes: Sequence[str]) -> None:
    from detect.evaluation.table import render_table

    _print(render_table(metrics, point and point.rule))
    for note in filter(None, notes):
        _print(f"Note: {note}")


def _print_lesions(result: Any) -> None:
    for case, rows in result.rows.items():
        note = " (there already)" if case in result.skipped else ""
        note += f"; {result.notes[case]}" if case in result.notes else ""
        _print(f"{result.folder / case}: {len(rows)} lesions{note}")
        for row in rows:
            x, y, z = row["centre_mm"]
            _print(
                f"  {row['class']} {row['score']:.2f} at ({x:.1f}, {y:.1f}, {z:.1f}) mm,"
                f" slices {row['first_slice']}-{row['last_slice']}"
            )


def _list_errors(errors: Sequence[InputError]) -> int:
    for error in errors:
        typer.echo(f"failed: {error}", err=True)
    return 1 if errors else 0


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            option, f"`{text}` is not numbers", "write for example 70,15,15"
        ) from error
