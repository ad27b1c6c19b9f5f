"""Write a dataset in another layout: a folder of its own that can be moved, whole or not at all."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from converters.core.errors import InputError
from converters.core.files import naming, write_text
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
    """What was written.

    Attributes:
        folder: where it lies.
        images, boxes: how many.
        negatives: images without a box.
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
        raise InputError(
            "--to", f"`{to}` is no format of a dataset", f"{hint} {', '.join(FORMATS)}"
        )
    dataset = open_dataset(folder)
    content = read_content(dataset)
    _check_free(out, folder, overwrite)
    partial = out.absolute().with_name(f"{out.absolute().name}.partial")
    try:
        try:
            _discard(partial)  # of an export that was killed
            partial.mkdir(parents=True)
            _place_pictures(dataset, content, FORMATS[to], partial, link)
            FORMATS[to].write(partial, content)
            write_text(partial / README, _readme(to, content))
            _publish(partial, out)
        finally:
            _discard(partial)
    except OSError as error:
        raise InputError(
            error.filename or out,
            f"cannot be written ({error.strerror or error})",
            "make room or check the rights, then run the same command again",
        ) from error
    pictures = [picture for own in content.splits.values() for picture in own]
    return ExportResult(
        folder=out,
        images=len(pictures),
        boxes=sum(len(picture.boxes) for picture in pictures),
        negatives=sum(not picture.boxes for picture in pictures),
    )


def _check_free(out: Path, folder: Path, overwrite: bool) -> None:
    here, source = out.resolve(), folder.resolve()
    if here == source or here in source.parents or source in here.parents:
        raise InputError(out, "lies in the dataset or holds it", "give another folder with --out")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise InputError(out, "exists", "give another --out, or --overwrite an earlier export")
    readme = out / README
    if not (readme.is_file() and readme.read_bytes().startswith(_SIGNATURE.encode())):
        raise InputError(out, "exists and is no export", "give another folder with --out")


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
                with naming(target):
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


def _publish(partial: Path, out: Path) -> None:
    if out.exists():
        replaced = partial.with_name(f"{partial.name}.replaced")
        _discard(replaced)
        out.rename(replaced)
        partial.rename(out)
        _discard(replaced)
    else:
        partial.rename(out)


def _discard(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
