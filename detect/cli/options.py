"""Options that several verbs share, spelled and explained the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

from converters.core.progress import SilentReporter, report_to

RULES = "f1, sensitivity=S, fp-per-image=N or fp-per-scan=N"
Out = Annotated[Path, typer.Option(help="Folder to make.")]
Data = Annotated[Path, typer.Option(help="Dataset folder of `detect convert`.")]
Models = Annotated[
    list[Path],
    typer.Option("--model", help="Model folder of `detect train`; several are an ensemble."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, or a GPU's number.")]
Runtime = Annotated[
    str, typer.Option(help="torch, onnx, openvino or openvino-int8, of `detect export`.")
]
Augment = Annotated[
    bool,
    typer.Option("--augment", help="Fuse boxes of each slice, its mirror image, and smaller."),
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


def _silence(context: typer.Context, quiet: bool) -> bool:
    if quiet:
        context.with_resource(report_to(SilentReporter()))
    return quiet


Quiet = Annotated[bool, typer.Option("--quiet", callback=_silence, help="Show no progress bars.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what lies at --out.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the data [100].")]
Iterations = Annotated[
    int | None, typer.Option(min=1, help="Steps of the optimiser, in place of epochs.")
]
Budget = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="As many epochs as fit on this machine, e.g. into 20min."),
]
Batch = Annotated[int | None, typer.Option(min=1, help="Images a step [16].")]
Negatives = Annotated[
    float | None,
    typer.Option(min=0, help="Slices without a lesion an epoch, for each one with [1]."),
]
Synthetic = Annotated[
    float | None,
    typer.Option(min=0, help="Slices of made-up lesions an epoch, for each one of real ones [1]."),
]
HardNegatives = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Share of those: next to a lesion, or like one [0]."),
]
InputSide = Annotated[
    str | None,
    typer.Option(metavar="PX", help="Input side, px; auto: as the lesions need [the pictures']."),
]
LearningRate = Annotated[float | None, typer.Option(help="Peak learning rate of AdamW.")]
Patience = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Stop after so many epochs without a better val mAP50; keep the best [100].",
    ),
]
