"""The command line: one verb, one function; imports wait until a verb needs them."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from converters.core.distribution import NAME, program_version
from converters.core.errors import InputError
from detect.cli import data, scans, scoring, training
from detect.cli import weights as weight_files
from detect.cli.printing import describe_error

try:
    from typer.exceptions import TyperException as RequestError
except ImportError:  # before 0.26, which roboflow asks for
    from click import ClickException as RequestError  # type: ignore[assignment]

INTERRUPTED = 130  # exit code, as shells have it

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="CT scans with voxel lesion masks in; trained, honestly measured 2D detectors out.",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{NAME} {program_version()}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None: ...


for verb in (
    scans.demo,
    data.convert,
    data.synthesize,
    data.check,
    training.train,
    scoring.evaluate,
    training.operating_point,
    scoring.compare,
    scans.predict,
    scans.watch,
    data.export,
    training.benchmark,
    data.datasets,
    training.models,
):
    app.command(verb.__name__.replace("_", "-"))(verb)
app.add_typer(weight_files.weights_app, name="weights")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0: done, 1: some inputs failed, 2: the request is wrong."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        arguments = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
        result = app(args=arguments, standalone_mode=False, prog_name="detect")
        if result == INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        return int(result or 0)
    except InputError as error:
        return _wrong(describe_error(error))
    except RequestError as error:
        return _wrong(" ".join(error.format_message().split()))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _wrong(f"{where}{error.strerror or error}. Mend that and run the command again.")
    except (KeyboardInterrupt, typer.Abort):
        return _wrong("interrupted; run the same command again to go on", code=INTERRUPTED)


def _wrong(message: str, code: int = 2) -> int:
    typer.echo(f"error: {message}", err=True)
    return code
