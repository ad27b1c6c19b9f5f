"""Discover the scans in files, DICOM folders and folders of many scans.

Series in a folder that are no scans (localizers, reformats, captures) are skipped with a
reason. A series that is named itself is taken where it can be read at all, with a
warning.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from converters.core.errors import InputError
from converters.core.progress import progress
from converters.imaging.dicom.geometry import DicomSeries
from converters.imaging.dicom.series import holds_dicom
from converters.imaging.dicom.study import SeriesOutline, outline
from converters.imaging.read import find_scans, is_scan


@dataclass(frozen=True)
class ScanTask:
    """One scan to process.

    Attributes:
        path: a file, or the folder of a DICOM series.
        series: headers of the DICOM series, which are read once.
        warnings: one line for each reason why it may not be the scan that is meant.
        name: of the case; None names it by a hash of its files, since folders of DICOM files tend
            to be named after people.
    """

    path: Path
    series: DicomSeries | None = None
    warnings: tuple[str, ...] = ()
    name: str | None = None

    @property
    def source(self) -> Path | DicomSeries:
        """The scan to read or hash."""
        return self.path if self.series is None else self.series

    def case(self, sha256: str) -> str:
        """Return the name of the scan in the outputs, given the hash of its files."""
        return self.name or f"scan-{sha256[:12]}"


@dataclass(frozen=True)
class DiscoveredScans:
    """The scans in what a user gave.

    Attributes:
        scans: to process, each once.
        skipped: why a series or an object is no scan to process, one each.
        errors: one for each folder that could not be searched, and for each input without any scan.
    """

    scans: list[ScanTask] = field(default_factory=list)
    skipped: list[InputError] = field(default_factory=list)
    errors: list[InputError] = field(default_factory=list)


def discover_scans(
    paths: Sequence[Path], modality: str, out: Path | None = None
) -> DiscoveredScans:
    """Replace folders by the scans in them.

    Args:
        paths: scan files, DICOM folders, or folders that hold many of either.
        modality: of the scans that are wanted.
        out: folder of the outputs, if any; label volumes of an earlier run in it are no scans.
        quiet: no progress bar.
    """
    result = DiscoveredScans()
    with progress("looking", len(paths)) as advance:
        for path in paths:
            inside = discover_at(path, modality, out)
            result.scans.extend(inside.scans)
            result.skipped.extend(inside.skipped)
            result.errors.extend(inside.errors)
            advance("")
    unique = {(scan.path, scan.series): scan for scan in reversed(result.scans)}
    return DiscoveredScans(list(reversed(unique.values())), result.skipped, result.errors)


def discover_series(folder: Path, modality: str) -> DiscoveredScans:
    """Sort the DICOM files directly in one folder, as those of a folder of many scans.

    Args:
        folder: not searched below its first level; one without DICOM files holds nothing.
        modality: of the scans that are wanted.
    """
    result = DiscoveredScans()
    _sort_series(folder, False, modality, result)
    return result


def discover_at(path: Path, modality: str, out: Path | None = None) -> DiscoveredScans:
    """Discover the scans at one path; see `discover_scans`."""
    result = DiscoveredScans()
    try:
        if not path.is_dir():
            return DiscoveredScans([ScanTask(path)])
        outputs = out.resolve() if out is not None else None
        for place in find_scans(path, _may_be_scan, result.errors):
            if outputs is not None and place.resolve().is_relative_to(outputs):
                continue
            if place.is_dir():
                _sort_series(place, place == path, modality, result)
            else:
                result.scans.append(ScanTask(place))
    except InputError as error:
        result.errors.append(error)
    except OSError as error:  # such as a name that is too long
        result.errors.append(
            InputError(path, f"cannot be read ({error.strerror})", "check the path")
        )
    if not result.scans and not result.errors:
        remedy = "give NIfTI, NRRD, MetaImage or DICOM"
        if result.skipped:
            remedy = "see why the others were skipped"
        result.errors.append(InputError(path, "holds no scan to process", remedy))
    return result


def _may_be_scan(path: Path) -> bool:
    return holds_dicom(path) if path.is_dir() else is_scan(path)


def _sort_series(folder: Path, named: bool, modality: str, result: DiscoveredScans) -> None:
    """Sort the series of a DICOM folder into scans, skipped series and errors."""
    try:
        outlines = outline(folder, modality)
    except InputError as error:
        result.errors.append(error)
        return
    for each in outlines:
        alone = each.series.alone
        if not each.refused and (not each.doubted or (named and alone)):
            warnings = (f"the series {each.doubted}",) if each.doubted else ()
            result.scans.append(ScanTask(folder, each.series, warnings))
        elif named and alone and each.slices:  # it was asked for by its name
            result.errors.append(_reason(each, modality))
        else:
            result.skipped.append(_reason(each, modality))


def _reason(skipped: SeriesOutline, modality: str) -> InputError:
    """Name the folder where the series is all that lies in it, else the series' first file."""
    path, problem = skipped.first, skipped.refused or skipped.doubted
    if skipped.series.alone and skipped.slices:
        path = skipped.series.folder
    elif skipped.files > 1:
        problem += f" (the first of {skipped.files} files of its series)"
    remedy = f"give an axial {modality} series"
    if skipped.doubted:
        remedy = "to have it processed, give it by name in a folder of its own"
    return InputError(path, problem, remedy)
