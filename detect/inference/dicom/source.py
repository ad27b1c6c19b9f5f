"""Header values that DICOM SR and SEG share: the series they refer to, the model, the UIDs."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from converters.core.distribution import install_hint, program_version
from converters.core.errors import InputError, ParameterError
from converters.imaging.dicom.geometry import DicomSeries, Slice
from converters.imaging.dicom.quiet import quiet
from converters.imaging.dicom.series import as_input_errors
from detect.detectors.card import ModelCard

MANUFACTURER = "detect"
_LONGEST_ID = 16  # of a StudyID
_MUST = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_MAY_BE_EMPTY = (  # DICOM's type 2: there, even if nothing is known
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate",
    "StudyTime", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def _uid(name: str) -> str:
    """Derive a UID from a name (PS3.5, B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def check_installed(parameter: str) -> None:
    """Make sure that highdicom is installed.

    Raises:
        InputError: it is not.
    """
    if find_spec("highdicom") is None:
        raise ParameterError(parameter, "needs highdicom", f"run {install_hint('dicom')}")


@dataclass(frozen=True)
class Finding:
    """Text, code and UID of one lesion, the same in every object.

    Attributes:
        text: `lesion 1: hcc`, the number being its `lesion_id`.
        code: of its class.
        uid: that lets others track it.
    """

    text: str
    code: Code
    uid: str


@dataclass(frozen=True)
class Result:
    """A series, and the lesions that a model found in it.

    Attributes:
        folder: of the series.
        slices: by rank.
        card: of the model.
        rows: lesions as in `detections.json`.
        warnings: why the scan may not be one for the model.
        entropy: the same for the same series, model and lesions, and for nothing else.
    """

    folder: Path
    slices: list[Slice]
    card: ModelCard
    rows: Sequence[Mapping[str, Any]]
    warnings: Sequence[str]
    entropy: str
    _images: dict[Path, Dataset] = field(default_factory=dict)

    def image(self, rank: int) -> Dataset:
        """Read the header of the file that holds the slice of some rank; it names the patient.

        Raises:
            InputError: it lacks a UID that every DICOM object needs.
        """
        path = self.slices[rank].path
        if path not in self._images:
            with as_input_errors(path):
                header = dcmread(path, force=True, stop_before_pixels=True)
                for keyword in _MAY_BE_EMPTY:
                    if keyword not in header:
                        setattr(header, keyword, None)
                # what no valid object may hold is left empty, as unknown
                if header.PatientSex not in ("M", "F", "O"):
                    header.PatientSex = None
                if len(header.StudyID or "") > _LONGEST_ID:
                    header.StudyID = None
            for keyword in _MUST:
                if not header.get(keyword):
                    raise InputError(
                        path,
                        f"lacks {keyword}, without which nothing can refer to it",
                        "export the series again, or leave out --dicom-sr and --dicom-seg",
                    )
            self._images[path] = header
        return self._images[path]

    def uid(self, name: str) -> str:
        """Derive a UID that is the same when the same result is written again."""
        return _uid(f"{self.entropy}/{name}")

    @property
    def device(self) -> str:
        """UID of the model."""
        return _uid(self.card.weights_sha256)

    def findings(self) -> list[Finding]:
        """Describe each lesion; a class without a code has the code of a lesion."""
        findings = []
        for row in self.rows:
            name, number = row["class"], row["lesion_id"]
            known = self.card.codes.get(name)
            code = Code(known.value, known.scheme, known.meaning) if known else codes.SCT.Lesion
            text = f"lesion {number}: {name}"[:64]
            findings.append(Finding(text, code, self.uid(f"lesion {number}")))
        return findings

    def common(self, kind: str) -> dict[str, Any]:
        """Return the arguments that highdicom takes for every kind of object."""
        texts = [text for each in self.findings() for text in (each.text, each.code.meaning)]
        charset = self.image(0).get("SpecificCharacterSet")
        if not "".join(texts).isascii() or not isinstance(charset, str | None):
            charset = "ISO_IR 192"  # else the patient's own, which old archives go well with
        return {
            "specific_character_set": charset,
            "series_instance_uid": self.uid(f"series {kind}"),
            "sop_instance_uid": self.uid(f"instance {kind}"),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.card.spec.model,
            "software_versions": program_version(),
            "device_serial_number": self.card.weights_sha256[:16],
        }


def result_of(
    series: DicomSeries,
    source_sha256: str,
    card: ModelCard,
    rows: Sequence[Mapping[str, Any]],
    warnings: Sequence[str] = (),
) -> Result:
    """Gather the series, the model and the lesions that objects are written from.

    Args:
        series: that was read.
        source_sha256: of its files.
        card: of the model.
        rows: lesions as in `detections.json`.
        warnings: why the scan may not be one for the model.

    Raises:
        InputError: the series is no even stack of slices.
    """
    entropy = [source_sha256, card.weights_sha256, program_version(), list(rows), list(warnings)]
    return Result(series.folder, series.ordered()[0], card, rows, warnings, json.dumps(entropy))


@contextmanager
def building(result: Result, kind: str) -> Iterator[None]:
    """Turn an error of highdicom on a strange header into one line that quotes none of it."""
    try:
        with quiet():
            yield
    except (InputError, OSError):
        raise
    except Exception:  # highdicom raises many kinds, and quotes what it read
        raise InputError(
            result.folder,
            f"has a header from which no {kind} can be made",
            "correct its patient and study tags, or do not ask for that object",
        ) from None
