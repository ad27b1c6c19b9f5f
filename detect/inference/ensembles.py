"""`ensembles.json` in a bundle: what was chosen on val for it and others as one."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from converters.core.errors import InputError
from converters.core.files import write_json
from detect.detectors.card import OperatingPoint
from detect.linking.linking import Linking

FILE_NAME = "ensembles.json"


class EnsembleChoice(BaseModel):
    """What was chosen for an ensemble.

    Attributes:
        members: names of the models, for people.
        operating_point: from which fused boxes count.
        linking: of fused boxes through slices.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: list[str]
    operating_point: OperatingPoint
    linking: Linking


class Ensembles(BaseModel):
    """The content of `ensembles.json`.

    Attributes:
        ensembles: by the hash over the weights of all members: after another training of one of
            them there is nothing chosen any more.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_name: Literal["detect-ensembles/1"] = Field("detect-ensembles/1", alias="schema")
    ensembles: dict[str, EnsembleChoice] = Field(default_factory=dict)


def read_choice(bundle: Path, weights_sha256: str) -> EnsembleChoice | None:
    """What a bundle keeps of an ensemble; None where nothing was chosen.

    Args:
        bundle: of the member that keeps it.
        weights_sha256: over the weights of all members.

    Raises:
        InputError: the file is damaged.
    """
    return _read(bundle).ensembles.get(weights_sha256)


def write_choice(bundle: Path, weights_sha256: str, chosen: EnsembleChoice) -> None:
    """Keep what was chosen for an ensemble, and what is kept of others; see `read_choice`."""
    known = _read(bundle)
    whole = Ensembles(ensembles={**known.ensembles, weights_sha256: chosen})
    write_json(bundle / FILE_NAME, whole.model_dump(mode="json", by_alias=True))


def _read(bundle: Path) -> Ensembles:
    path = bundle / FILE_NAME
    try:
        return Ensembles.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Ensembles()
    except ValidationError as error:
        raise InputError(
            path, "is no list of ensembles", "delete it, and run `detect operating-point` again"
        ) from error
