"""`ensembles.json` in a bundle: operating point and linking of ensembles with this model."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from converters.core.errors import InputError
from converters.core.files import write_json
from detect.detectors.card import OperatingPoint
from detect.linking.linking import Linking

FILE_NAME = "ensembles.json"


class EnsembleChoice(BaseModel):
    """Operating point and linking that were chosen for an ensemble on val.

    Attributes:
        members: names of the models, for readers of the file.
        operating_point: fused boxes with this confidence or more count.
        linking: of fused boxes through slices.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: list[str]
    operating_point: OperatingPoint
    linking: Linking


class Ensembles(BaseModel):
    """The content of `ensembles.json`.

    Attributes:
        ensembles: choices by the hash over the weights of all members: a choice is void once one
            of them is trained again.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_name: Literal["detect-ensembles/1"] = Field("detect-ensembles/1", alias="schema")
    ensembles: dict[str, EnsembleChoice] = Field(default_factory=dict)


def read_choice(bundle: Path, weights_sha256: str) -> EnsembleChoice | None:
    """Read what was chosen for an ensemble; None where nothing was.

    Args:
        bundle: of the member that keeps the choice.
        weights_sha256: over the weights of all members.

    Raises:
        InputError: the file is damaged.
    """
    return _read(bundle).ensembles.get(weights_sha256)


def write_choice(bundle: Path, weights_sha256: str, chosen: EnsembleChoice) -> None:
    """Add a choice to `ensembles.json`, beside those of other ensembles; see `read_choice`."""
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
            path, "is not a list of ensembles", "delete it, and run `detect operating-point` again"
        ) from error
