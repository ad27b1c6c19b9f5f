"""Export a dataset or a model; `detect export` takes either."""

from pathlib import Path

from converters.core.errors import InputError, ParameterError
from converters.formats.export import FORMATS, ExportResult, export_dataset
from detect.detectors.card import FILE_NAME as MODEL_CARD
from detect.workflows.export_model import FORMATS as MODEL_FORMATS
from detect.workflows.export_model import ExportModelResult, export_model


def export(
    source: Path,
    to: str,
    out: Path | None = None,
    *,
    link: bool = False,
    int8: bool = False,
    data: Path | None = None,
    overwrite: bool = False,
) -> ExportResult | ExportModelResult:
    """Write a dataset in the layout of another tool, or a model for another runtime.

    Args:
        source: dataset folder, see `export_dataset`, or bundle of a model, see `export_model`.
        to: a format of what `source` is.
        out: folder to make, of a dataset; a model's exports lie in its bundle.
        link: hard-link the pictures of a dataset.
        int8: quantise a model.
        data: dataset to quantise a model by and to compare on.
        overwrite: replace an earlier export.

    Raises:
        InputError: the format or an option does not fit what `source` is, or the export fails.
    """
    if (source / MODEL_CARD).is_file():
        if to not in MODEL_FORMATS:
            formats = ", ".join(MODEL_FORMATS)
            raise InputError(source, "is a model, not a dataset", f"its formats are {formats}")
        _refuse("of a dataset; a model's exports lie in its folder", out=out, link=link)
        return export_model(source, to, int8=int8, data=data, overwrite=overwrite)
    if to in MODEL_FORMATS:
        formats = ", ".join(FORMATS)
        raise InputError(source, f"is no model, which {to} is for", f"datasets go to {formats}")
    _refuse("of a model", int8=int8, data=data)
    if out is None:
        raise ParameterError("out", "is missing", "name the folder to make")
    return export_dataset(source, to, out, link=link, overwrite=overwrite)


def _refuse(whose: str, **options: object) -> None:
    for name, value in options.items():
        if value:
            raise ParameterError(name, f"is an option {whose}", "leave it out")
