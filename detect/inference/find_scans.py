"""Which scans there are in what a user gives, and what beside them is none.

What is found in a folder is judged: localizers, reformats, captures and the like are passed over
with a reason. What is named itself is taken where it can be read at all, with a warning.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from converters.core.errors import InputError
from converters.core.progress import progress
from converters.imaging.dicom.geometry import DicomSeries
from converters.imaging.dicom.series import holds_objects
from converters.imaging.dicom.study import SeriesOutline, outline
from converters.imaging.read import find_scans, is_scan


@dataclass(frozen=True)
class Source:
    """One scan to process.

    Attributes:
        path: a file, or the folder of a DICOM series.
        series: headers of a DICOM series.
        warnings: why it may not be the scan that is meant.
    """

    path: Path
    series: DicomSeries | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        scans: to process, each once.
        skipped: what is no scan to process, and why; no fault of anybody.
        errors: what could not be looked at, and inputs without any scan.
    """

    scans: list[Source] = field(default_factory=list)
    skipped: list[InputError] = field(default_factory=list)
    errors: list[InputError] = field(default_factory=list)


def find(paths: Sequence[Path], modality: str, out: Path) -> Found:
    """Replace folders by the scans in them.

    Args:
        paths: scan files, DICOM folders, or folders that hold many of either.
        modality: of the scans that are wanted.
        out: folder of the outputs; label volumes of an earlier run in it are no scans.
    """
    found = Found()
    with progress("looking", len(paths)) as advance:
        for path in paths:
            own = _inside(path, modality, out)
            found.scans.extend(own.scans)
            found.skipped.extend(own.skipped)
            found.errors.extend(own.errors)
            advance("")
    unique = {(scan.path, scan.series): scan for scan in reversed(found.scans)}
    return Found(list(reversed(unique.values())), found.skipped, found.errors)


def look(folder: Path, modality: str) -> Found:
    """Sort the DICOM files directly in one folder, as those of a folder of many scans.

    Args:
        folder: not searched below its first level; one without DICOM files holds nothing.
        modality: of the scans that are wanted.
    """
    found = Found()
    _look(folder, False, modality, found)
    return found


def _inside(path: Path, modality: str, out: Path) -> Found:
    """Find the scans of one input."""
    found = Found()
    try:
        if not path.is_dir():
            return Found([Source(path)])
        results = out.resolve()
        for place in find_scans(path, _worth_a_look, found.errors):
            if place.resolve().is_relative_to(results):
                continue
            if place.is_dir():
                _look(place, place == path, modality, found)
            else:
                found.scans.append(Source(place))
    except InputError as error:
        found.errors.append(error)
    except OSError as error:  # such as a name that is too long
        found.errors.append(
            InputError(path, f"cannot be read ({error.strerror})", "check the path")
        )
    if not found.scans and not found.errors:
        remedy = "give NIfTI, NRRD, MetaImage or DICOM"
        if found.skipped:
            remedy = "see why the others were skipped"
        found.errors.append(InputError(path, "holds no scan to process", remedy))
    return found


def _worth_a_look(path: Path) -> bool:
    return holds_objects(path) if path.is_dir() else is_scan(path)


def _look(folder: Path, named: bool, modality: str, found: Found) -> None:
    """Sort the DICOM files of a folder into scans and what is none."""
    try:
        every = outline(folder, modality)
    except InputError as error:
        found.errors.append(error)
        return
    for one in every:
        alone = one.series.alone
        if not one.refused and (not one.doubted or (named and alone)):
            warnings = (f"the series {one.doubted}",) if one.doubted else ()
            found.scans.append(Source(folder, one.series, warnings))
        elif named and alone and one.slices:  # what was asked for is no by-catch
            found.errors.append(_reason(one, modality))
        else:
            found.skipped.append(_reason(one, modality))


def _reason(one: SeriesOutline, modality: str) -> InputError:
    """Name the folder where the series is all that lies in it, else the series' first file."""
    path, problem = one.first, one.refused or one.doubted
    if one.series.alone and one.slices:
        path = one.series.folder
    elif one.files > 1:
        problem += f" (the first of {one.files} files of its series)"
    remedy = f"give an axial {modality} series"
    if one.doubted:
        remedy = "to have it processed, give it by name in a folder of its own"
    return InputError(path, problem, remedy)
