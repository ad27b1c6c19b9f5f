"""Write a dataset in another layout: a folder of its own that can be moved, whole or not at all."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from converters.core.errors import InputError, ParameterError
from converters.core.files import named_errors, write_text
from converters.core.output_folder import atomic_folder, check_output, write_errors
from converters.core.progress import progress
from converters.dataset.folder import Dataset, open_dataset
from converters.formats import coco, createml, cvat, labelstudio, rfdetr, voc, yolo
from converters.formats import csv as tables
from converters.formats.content import Content, Format, read_content

FORMATS: Mapping[str, Format] = {
    "coco": coco.FORMAT,
    "yolo": yolo.FORMAT,
    "voc": voc.FORMAT,
    "rfdetr": rfdetr.FORMAT,
    "cvat": cvat.FORMAT,
    "labelstudio": labelstudio.FORMAT,
    "createml": createml.FORMAT,
    "csv": tables.FORMAT,
}

README = "README.txt"
_SIGNATURE = "A dataset of `detect`, exported as "
_PNG_HEAD, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class ExportResult:
    """The outcome of an export.

    Attributes:
        folder: of the export.
        images, boxes: counts.
        negatives: count of the images without a box.
    """

    folder: Path
    images: int
    boxes: int
    negatives: int


def export_dataset(
    folder: Path,
    to: str,
    out: Path,
    *,
    link: bool = False,
    overwrite: bool = False,
) -> ExportResult:
    """Write a dataset folder in the layout of another tool.

    Args:
        folder: dataset of `detect convert`; it is not changed.
        to: a name in `FORMATS`.
        out: folder to make.
        link: hard-link the pictures instead of copying them: no space is needed, but a tool that
            writes into a picture then changes the dataset's own.
        overwrite: replace an earlier export at `out`.

    Raises:
        InputError: no such format, no dataset, a damaged one, or something else lies at `out`.
    """
    if to not in FORMATS:
        near = get_close_matches(to, FORMATS, n=1)
        hint = f"did you mean {near[0]}? There are" if near else "use one of"
        raise ParameterError(
            "to", f"`{to}` is no format of a dataset", f"{hint} {', '.join(FORMATS)}"
        )
    dataset = open_dataset(folder)
    content = read_content(dataset)
    _check_apart(out, folder)
    readme = out / README
    ours = readme.is_file() and readme.read_bytes().startswith(_SIGNATURE.encode())
    check_output(out, overwrite, "an export", ours)
    remedy = "make room or check the rights, then run the same command again"
    with write_errors(out, remedy), atomic_folder(out) as work:
        _place_pictures(dataset, content, FORMATS[to], work, link)
        FORMATS[to].write(work, content)
        write_text(work / README, _readme(to, content))
    pictures = [picture for split in content.splits.values() for picture in split]
    return ExportResult(
        folder=out,
        images=len(pictures),
        boxes=sum(len(picture.boxes) for picture in pictures),
        negatives=sum(not picture.boxes for picture in pictures),
    )


def _check_apart(out: Path, folder: Path) -> None:
    target, source = out.resolve(), folder.resolve()
    if target == source or target in source.parents or source in target.parents:
        raise InputError(out, "lies in the dataset or holds it", "give another folder with --out")


def _place_pictures(
    dataset: Dataset, content: Content, form: Format, folder: Path, link: bool
) -> None:
    total = sum(len(pictures) for pictures in content.splits.values())
    with progress("export", total) as advance:
        for split, pictures in content.splits.items():
            (folder / form.place(split, "_")).parent.mkdir(parents=True, exist_ok=True)
            for picture in pictures:
                source = dataset.image_path(split, picture.name)
                target = folder / form.place(split, picture.name)
                _check_whole(source)
                with named_errors(target):
                    if link:
                        os.link(source, target)
                    else:
                        shutil.copyfile(source, target)
                advance(split)


def _check_whole(png: Path) -> None:
    """Refuse a picture that is missing or was cut short; its pixels are not looked at."""
    try:
        with png.open("rb") as stream:
            head = stream.read(len(_PNG_HEAD))
            stream.seek(max(os.fstat(stream.fileno()).st_size - len(_PNG_END), 0))
            end = stream.read()
    except OSError as error:
        raise InputError(png, f"cannot be read ({error.strerror})", "convert again") from error
    if (head, end) != (_PNG_HEAD, _PNG_END):
        raise InputError(png, "is not a whole PNG", "convert again")


def _readme(to: str, content: Content) -> str:
    classes = ", ".join(f"{i} {name}" for i, name in enumerate(content.class_names))
    data = [content.title, *filter(None, (content.licence, content.citation))]
    return (
        f"{_SIGNATURE}{to}\n\n{FORMATS[to].notes}\nClasses: {classes}.\n\n" + "\n".join(data) + "\n"
    )
