"""The verbs of `detect weights`: list, add, verify and pretrain."""

from pathlib import Path
from typing import Annotated

import typer

from detect.cli.options import Quiet
from detect.cli.printing import show

weights_app = typer.Typer(help="List, add, verify or pretrain weight files to start from.")


@weights_app.command("list")
def list_weights() -> int:
    """List the known weight files, and which of them are here."""
    from detect.cli.tables import weights_table

    show(weights_table())
    return 0


@weights_app.command("add")
def add_weights(
    file: Annotated[Path, typer.Argument(help="Copy this weight file.")],
    name: Annotated[
        str | None, typer.Option("--as", help="Keep it under this file or model name [unchanged].")
    ] = None,
) -> int:
    """Copy a weight file into the folder of weights, and record its hash."""
    from detect.workflows.weights import add_weights as run

    show(f"{run(file, name)}: added")
    return 0


@weights_app.command("verify")
def verify_weights(quiet: Quiet = False) -> int:
    """Hash all weight files again and list those that have changed."""
    from detect.workflows.weights import verify_weights as run

    result = run()
    for name in result.unknown:
        show(f"{name}: no hash is known to compare with; `detect weights add` records one")
    for problem in result.problems:
        show(problem)
    show(f"{result.files} files, {len(result.problems)} problems")
    return 1 if result.problems else 0


@weights_app.command("pretrain")
def pretrain(
    model: Annotated[str, typer.Argument(help="Pretrain this model of `detect models`.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier weights of this model.")
    ] = False,
    quiet: Quiet = False,
) -> int:
    """Train a model on phantom patients, for `--weights synthetic`; nothing is downloaded."""
    from detect.workflows.pretrain import pretrain as run

    file = run(model, overwrite=overwrite)
    show(f"{file}: made; --weights synthetic starts from it")
    return 0
