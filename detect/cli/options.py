"""Options that several verbs share, spelled and explained the same everywhere."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from converters.core.progress import SilentReporter, report_to

RULES = "f1, sensitivity=S, fp-per-image=N or fp-per-scan=N"
Out = Annotated[Path, typer.Option(help="Folder to make.")]
Data = Annotated[Path, typer.Option(help="Use this dataset folder of `detect convert`.")]
Models = Annotated[
    list[Path],
    typer.Option("--model", help="Use this model of `detect train`; several are an ensemble."),
]
Device = Annotated[str, typer.Option(help="Run on auto, cpu, or a GPU's number.")]
Runtime = Annotated[
    str, typer.Option(help="Run by torch, or by an export: onnx, openvino or openvino-int8.")
]
Augment = Annotated[
    bool,
    typer.Option(
        "--augment", help="Fuse the boxes of each slice, its mirror image and a smaller copy."
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Work in this many processes.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Work on this dask cluster, which must share the file system.",
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**31, help="Seed everything random with this number.")
]
Protocol = Annotated[str | None, typer.Option(help="Take published settings as defaults: limt.")]


def _silence(context: typer.Context, quiet: bool) -> bool:
    if quiet:
        context.with_resource(report_to(SilentReporter()))
    return quiet


Quiet = Annotated[bool, typer.Option("--quiet", callback=_silence, help="Show no progress bars.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what lies at --out.")]


def _train_settings(
    *,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Train for this many passes over the data [100].")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Train for this many steps, not epochs.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Train as many epochs as fit here, e.g. into 20min."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Take this many images for each step [16].")
    ] = None,
    negatives: Annotated[
        float | None,
        typer.Option(min=0, help="Show this many slices without a lesion for each one with [1]."),
    ] = None,
    hard_negatives: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Choose this share of them beside or like a lesion [0]."),
    ] = None,
    synthetic: Annotated[
        float | None,
        typer.Option(min=0, help="Show this many synthetic lesion slices for each real one [1]."),
    ] = None,
    imgsz: Annotated[
        str | None,
        typer.Option(
            metavar="PX", help="Set the input's side; auto fits the lesions [the pictures']."
        ),
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Set AdamW's peak learning rate.")] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Stop after this many epochs without a better val mAP50 [100].",
        ),
    ] = None,
) -> None:
    """Hold the options of `TrainSettings` that a user gives or leaves to the defaults."""


def with_train_settings(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of a training in place of its parameter `settings`.

    The command then gets, as `settings`, those that the user gave, by the names of `TrainSettings`.
    """
    options = inspect.signature(_train_settings).parameters
    signature = inspect.signature(command)
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += options.values() if name == "settings" else [parameter]

    @functools.wraps(command)
    def run(**given: Any) -> int:
        settings = {name: given.pop(name) for name in options}
        settings = {name: value for name, value in settings.items() if value is not None}
        return command(**given, settings=settings)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run
