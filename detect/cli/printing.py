"""Print the results of the verbs."""

from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console

from converters.core.errors import InputError, ParameterError

OPTIONS = {"url": "from", "name": "as"}  # of parameters that have another name


def show(what: Any) -> None:
    """Print text or a table."""
    console = Console(highlight=False, markup=False, soft_wrap=isinstance(what, str))
    if not console.is_terminal:
        console.width = 160  # a pipe has no width: never squeeze a table for it
    console.print(what)


def print_metrics(metrics: Any, point: Any, notes: Sequence[str]) -> None:
    """Print the table of boxes, and what its reader has to know."""
    from detect.cli.metrics_table import render_table

    show(render_table(metrics, point and point.rule))
    for note in filter(None, notes):
        show(f"Note: {note}")


def print_lesions(result: Any) -> None:
    """Print the lesions of each case."""
    for case, rows in result.rows.items():
        note = " (there already)" if case in result.existing else ""
        note += f"; {result.notes[case]}" if case in result.notes else ""
        show(f"{result.folder / case}: {len(rows)} lesions{note}")
        for row in rows:
            x, y, z = row["centre_mm"]
            show(
                f"  {row['class']} {row['score']:.2f} at ({x:.1f}, {y:.1f}, {z:.1f}) mm,"
                f" slices {row['first_slice']}-{row['last_slice']}"
            )


def print_study(result: Any, store: bool) -> None:
    """Print the results of a study on a server."""
    print_lesions(result.prediction)
    list_warnings(result.prediction)
    if store:
        show(f"stored in the study: {result.stored} DICOM object{'s' * (result.stored != 1)}")


def list_warnings(result: Any) -> None:
    """List the warnings of scans, and the series that were passed over."""
    if result.unchecked:
        show(f"Note: {result.unchecked}")
    for case, lines in result.warnings.items():
        for line in lines:
            typer.echo(f"warning: {result.folder / case}: {line}", err=True)
    for reason in result.skipped:
        typer.echo(f"skipped: {describe_error(reason)}", err=True)


def describe_error(error: InputError) -> str:
    """Return an error as one line, with the option in place of a parameter's name."""
    name, comma, part = error.path.partition(",")
    if not isinstance(error, ParameterError) or not name.isidentifier():
        return str(error)
    option = "--" + OPTIONS.get(name, name).replace("_", "-")
    return str(InputError(f"{option}{comma}{part}", error.problem, error.remedy))


def list_errors(errors: Sequence[InputError]) -> int:
    """List what failed; returns the exit code."""
    for error in errors:
        typer.echo(f"failed: {describe_error(error)}", err=True)
    return 1 if errors else 0
