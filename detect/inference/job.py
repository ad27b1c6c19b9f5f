"""Settings of a prediction run, and the job that they make with the models they name."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from converters.core.errors import InputError, ParameterError
from detect.detectors.protocol import Predictor
from detect.inference.model_set import ModelSet, load_models, read_models_for_scans

DICOM_FILES = SR_FILE, SEG_FILE = ("lesions-sr.dcm", "lesions-seg.dcm")


@dataclass(frozen=True)
class PredictSettings:
    """The choices of a user that hold for all scans of a prediction run.

    Each is a parameter of `detect.workflows.predict.predict`, which explains them.
    """

    models: Sequence[Path]
    out: Path
    confidence: float | None = None
    dicom_sr: bool = False
    dicom_seg: bool = False
    keep_identifiers: bool = False
    device: str = "auto"
    runtime: str = "torch"
    augment: bool = False
    strict: bool = False
    overwrite: bool = False

    @property
    def dicom_files(self) -> frozenset[str]:
        """Names of the DICOM files to write for each DICOM series, of `DICOM_FILES`."""
        wanted = zip(DICOM_FILES, (self.dicom_sr, self.dicom_seg), strict=True)
        return frozenset(name for name, chosen in wanted if chosen)


@dataclass(frozen=True)
class Job:
    """A prediction run that was checked as a whole; it is sent to other processes.

    Attributes:
        settings: choices of the user.
        models: the models, their confidence and linking.
        threads: of each process, for the network; None takes the usual number.
        token: of this run: by it a process knows that it has loaded the models already, and which
            unfinished folders belong to other runs.
    """

    settings: PredictSettings
    models: ModelSet
    threads: int | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def out(self) -> Path:
        """Folder of all outputs."""
        return self.settings.out

    def load(self) -> Predictor:
        """Load the models.

        Raises:
            InputError: they cannot be loaded here.
        """
        return load_models(self.models, self.settings.device, self.threads)


def prepare_job(settings: PredictSettings) -> Job:
    """Read the models' cards and check the settings, before any scan is looked at.

    Raises:
        InputError: the models or the settings are wrong as a whole.
    """
    out = settings.out
    models = read_models_for_scans(
        settings.models, settings.confidence, settings.runtime, settings.augment
    )
    if settings.strict and models.unchecked:
        raise ParameterError("strict", models.unchecked, "leave it out, or train again")
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file", "give a folder with --out")
    if settings.dicom_files:
        from detect.inference.dicom.source import check_installed

        check_installed("dicom_sr" if settings.dicom_sr else "dicom_seg")
    return Job(settings, models)
