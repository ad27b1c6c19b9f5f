"""`detect export`: what is exported decides which formats there are."""

from pathlib import Path

from converters.errors import InputError
from converters.export.export import FORMATS, ExportResult, export_dataset
from detect.model_card import FILE_NAME as MODEL_CARD


def export(
    source: Path,
    to: str,
    out: Path,
    *,
    link: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> ExportResult:
    """Write a dataset in the layout of another tool; see `export_dataset`.

    Args:
        source: dataset folder.
        to: a name in `FORMATS`.
        out: folder to make.
        link: hard-link the pictures.
        overwrite: replace an earlier export at `out`.
        quiet: no progress bar.

    Raises:
        InputError: the format does not fit what `source` is, or the export fails.
    """
    if (source / MODEL_CARD).is_file():
        formats = ", ".join(FORMATS)
        raise InputError(
            source, "is a model, not a dataset", f"give a dataset; its formats are {formats}"
        )
    return export_dataset(source, to, out, link=link, overwrite=overwrite, quiet=quiet)
