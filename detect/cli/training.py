"""The verbs train, benchmark, operating-point and models."""

from pathlib import Path
from typing import Annotated, Any

import typer

from detect.cli.options import (
    RULES,
    Data,
    Device,
    Models,
    Out,
    Overwrite,
    Protocol,
    Quiet,
    Seed,
    with_train_settings,
)
from detect.cli.printing import list_errors, print_metrics, show


@with_train_settings
def train(
    model: Annotated[str, typer.Option(help="Train this model of `detect models`.")],
    data: Annotated[
        Path | None, typer.Option(help="Train on this dataset folder [the built-in phantom].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the model to this folder [runs/MODEL].")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Start from a file, auto (published weights, if here) or synthetic [scratch]."
        ),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Unpickle the weight file, which can run code.")
    ] = False,
    *,
    settings: dict[str, Any],
    protocol: Protocol = None,
    fold: Annotated[
        str | None,
        typer.Option(metavar="I/K", help="Leave out part I of K parts of the patients."),
    ] = None,
    fold_seed: Annotated[
        int,
        typer.Option(min=0, max=2**31, help="Share out the patients to the folds by this seed."),
    ] = 0,
    operating_point: Annotated[
        str | None, typer.Option(help=f"Choose the confidence on val by {RULES} [f1].")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted training.")
    ] = False,
    seed: Seed = 0,
    device: Annotated[
        str, typer.Option(help="Use auto, cpu, a GPU's number, or several as 0,1.")
    ] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Load images in this many processes.")] = 4,
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

    base = TrainSettings() if data else SETTINGS
    if protocol is not None:
        settings = protocol_settings(protocol, family) | settings
    start = choose_start(model, weights)  # nor may weights that are not here
    if data is None:
        show("No --data given: training on the built-in phantom (made in ./phantom).")
        data = phantom_dataset(Path("phantom"))
    settings |= {"seed": seed, "device": device, "workers": workers}
    if operating_point is not None:
        settings["operating_point"] = operating_point
    resolved = resolve_settings(base, settings)
    if not resume:
        show(start.message)
    result = run(
        model,
        data,
        out=out,
        weights=weights,
        trust=trust,
        settings=resolved,
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


@with_train_settings
def benchmark(
    data: Data,
    models: Annotated[str, typer.Option(help="Compare these models, with commas between.")],
    out: Out = Path("benchmark"),
    folds: Annotated[
        int | None, typer.Option(min=2, help="Cross-validate by patient in this many rounds.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Train each model and fold with this many seeds.")
    ] = 1,
    weights: Annotated[
        str | None, typer.Option(help="Start from these weights, as in `detect train`.")
    ] = None,
    protocol: Protocol = None,
    *,
    settings: dict[str, Any],
    seed: Seed = 0,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Load images in this many processes.")] = 4,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Train several models and compare accuracy, speed and memory. Run again to go on."""
    from detect.cli.tables import summaries_table
    from detect.detectors.settings import TrainSettings, resolve_settings
    from detect.workflows.benchmark import benchmark as run

    settings |= {"seed": seed, "device": device, "workers": workers}
    result = run(
        data,
        [name.strip() for name in models.split(",") if name.strip()],
        out=out,
        folds=folds,
        seeds=seeds,
        weights=weights,
        protocol=protocol,
        settings=resolve_settings(TrainSettings(), settings),
        overwrite=overwrite,
    )
    show(summaries_table(result.summaries))
    show(f"{out}: report.html, benchmark.md, benchmark.csv, benchmark.png, curves.png")
    return list_errors(result.errors)


def operating_point(
    rule: Annotated[str, typer.Argument(help=f"{RULES[0].upper()}{RULES[1:]}.")],
    model: Models,
    data: Data,
    device: Device = "auto",
    quiet: Quiet = False,
) -> int:
    """Choose the confidence of a model or an ensemble anew on val, and store it."""
    from detect.detectors.operating_rule import parse_rule
    from detect.workflows.operating_point import set_operating_point

    result = set_operating_point(model, data, parse_rule(rule), device=device)
    show("On val:")
    print_metrics(result.metrics, result.point, [result.note])
    whose = " + ".join(map(str, model))
    show(f"{whose}: from confidence {result.point.confidence:.4g} on, boxes count as found")
    return 0


def models(
    classes: Annotated[int, typer.Option(min=1, help="Count for this many lesion classes.")] = 4,
    quiet: Quiet = False,
) -> int:
    """List the models, with parameters counted on the built networks."""
    from detect.cli.tables import models_table

    show(models_table(classes))
    return 0
