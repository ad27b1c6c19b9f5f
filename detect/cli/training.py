"""Verbs that train: train, benchmark, operating-point, models."""

from pathlib import Path
from typing import Annotated, Any

import typer

from detect.cli.options import (
    RULES,
    Batch,
    Budget,
    Data,
    Device,
    Epochs,
    HardNegatives,
    InputSide,
    Iterations,
    LearningRate,
    Models,
    Negatives,
    Out,
    Overwrite,
    Patience,
    Protocol,
    Quiet,
    Seed,
    Synthetic,
)
from detect.cli.printing import list_errors, print_metrics, show


def train(
    model: Annotated[str, typer.Option(help="A name of `detect models`.")],
    data: Annotated[
        Path | None, typer.Option(help="Dataset folder; the built-in phantom if not given.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make [runs/MODEL].")] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Start: a file, auto (published, if here) or synthetic [scratch]."),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Unpickle the weight file in full: it can run code.")
    ] = False,
    epochs: Epochs = None,
    iterations: Iterations = None,
    budget: Budget = None,
    batch: Batch = None,
    negatives: Negatives = None,
    hard_negatives: HardNegatives = None,
    synthetic: Synthetic = None,
    imgsz: InputSide = None,
    lr: LearningRate = None,
    patience: Patience = None,
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
    from converters.dataset.folds import parse_fold
    from detect.detectors.registry import family_of
    from detect.detectors.settings import TrainSettings, protocol_settings, resolve_settings
    from detect.training.distributed import is_first, run_on
    from detect.workflows.demo import SETTINGS, phantom_dataset
    from detect.workflows.train import train as run
    from detect.workflows.weights import choose_start

    family = family_of(model)  # a wrong name must not cost the making of the phantom
    chosen_fold = parse_fold(fold, fold_seed) if fold else None
    if "," in device and (code := run_on(device)) is not None:
        return code

    given: dict[str, Any] = {
        "epochs": epochs, "iterations": iterations, "budget": budget, "batch": batch,
        "negatives": negatives, "synthetic": synthetic, "hard_negatives": hard_negatives,
        "imgsz": imgsz, "lr": lr, "patience": patience, "operating_point": operating_point,
    }  # fmt: skip
    given = {key: value for key, value in given.items() if value is not None}
    base = TrainSettings() if data else SETTINGS
    if protocol is not None:
        given = protocol_settings(protocol, family) | given
    said = choose_start(model, weights).said  # nor may weights that are not here
    if data is None:
        show("No --data given: training on the built-in phantom (made in ./phantom).")
        data = phantom_dataset(Path("phantom"))
    given |= {"seed": seed, "device": device, "workers": workers}
    settings = resolve_settings(base, given)
    if not resume:
        show(said)
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
    )
    if not is_first():
        return 0
    show("Best epoch on val:")
    print_metrics(result.metrics, result.card.operating_point, [result.note])
    if result.card.imgsz_reason:
        show(f"Input: {result.card.spec.imgsz} px, since {result.card.imgsz_reason}")
    show(f"Model: {result.bundle}")
    return 0


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
    epochs: Epochs = None,
    iterations: Iterations = None,
    budget: Budget = None,
    batch: Batch = None,
    negatives: Negatives = None,
    hard_negatives: HardNegatives = None,
    synthetic: Synthetic = None,
    imgsz: InputSide = None,
    lr: LearningRate = None,
    patience: Patience = None,
    seed: Seed = 0,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Image loading processes.")] = 4,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Train several models and compare accuracy, speed and memory; stopped, it goes on."""
    from detect.benchmarking.results import render_summaries
    from detect.detectors.settings import TrainSettings, resolve_settings
    from detect.workflows.benchmark import benchmark as run

    given: dict[str, Any] = {
        "epochs": epochs, "iterations": iterations, "budget": budget, "batch": batch,
        "negatives": negatives, "synthetic": synthetic, "hard_negatives": hard_negatives,
        "imgsz": imgsz, "lr": lr, "patience": patience,
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
    )
    show(render_summaries(result.summaries))
    show(f"{out}: report.html, benchmark.md, benchmark.csv, benchmark.png, curves.png")
    return list_errors(result.errors)


def operating_point(
    rule: Annotated[str, typer.Argument(help=f"{RULES[0].upper()}{RULES[1:]}.")],
    model: Models,
    data: Data,
    device: Device = "auto",
    quiet: Quiet = False,
) -> int:
    """Choose the confidence of a model, or of several as one, anew on val, and store it there."""
    from detect.detectors.operating_rule import parse_rule
    from detect.workflows.operating_point import set_operating_point

    result = set_operating_point(model, data, parse_rule(rule), device=device)
    show("On val:")
    print_metrics(result.metrics, result.point, [result.note])
    whose = " + ".join(map(str, model))
    show(f"{whose}: from confidence {result.point.confidence:.4g} on, boxes count as found")
    return 0


def models(
    classes: Annotated[int, typer.Option(min=1, help="Number of lesion classes.")] = 4,
    quiet: Quiet = False,
) -> int:
    """List the models, with parameters counted on the built networks."""
    from detect.cli.tables import models_table

    show(models_table(classes))
    return 0
