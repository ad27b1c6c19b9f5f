"""Read and write `model.json`, the card of a trained model; inference trusts nothing else."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from converters.core.errors import InputError
from converters.core.files import sha256, write_json
from converters.dataset.fingerprint import TrainedOn
from converters.dataset.folds import Fold
from converters.preprocessing.representation import Represented, key_path
from converters.recipes.recipe import Code
from detect.linking.linking import Linking

FILE_NAME = "model.json"
LARGEST_IMGSZ = 4096  # px; a hostile model.json must not ask for all the memory


class ModelSpec(Represented):
    """The identity of a detector, before any training.

    Attributes:
        representation: how the pictures that it wants to see are made.
        family: of the registry.
        model: the name a user types.
        classes: class names in order of their index.
        imgsz: side of the network's square input, px.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str
    model: str
    classes: list[str] = Field(min_length=1)
    imgsz: int = Field(multiple_of=32, ge=32, le=LARGEST_IMGSZ)


class Parameters(BaseModel):
    """Number of parameters.

    Attributes:
        unfused: as trained.
        fused: as deployed, batch norms folded into convolutions and training-only parts left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    unfused: int
    fused: int


class Reached(BaseModel):
    """The scores of an operating point where it was chosen, at IoU 0.5; None where undefined.

    Attributes:
        precision, recall, f1: means over the classes with a true box.
        fp_per_image, fp_per_scan: false-positive boxes of all classes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: float | None
    recall: float | None
    f1: float | None
    fp_per_image: float
    fp_per_scan: float


class OperatingPoint(BaseModel):
    """The confidence chosen on val and frozen.

    Attributes:
        confidence: boxes with this score or more count as found.
        rule: how it was chosen.
        reached: what it gave there; None where it was not chosen on any data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: float = Field(ge=0, le=1)
    rule: str = "best class-mean F1 at IoU 0.5 on val"
    reached: Reached | None = None


class ModelCard(BaseModel):
    """The content of `model.json`.

    Attributes:
        spec: what the detector is.
        parameters: counts from the built network.
        weights, weights_sha256: file inside the bundle, and its hash.
        operating_point: None where val held no lesion.
        linking: of boxes through slices, as fitted on val at the operating point.
        started_from: `scratch`, or name and hash of the starting weights.
        training: settings as resolved.
        imgsz_reason: why the input is as large as it is; empty: as asked for, or as the pictures.
        dataset_sha256: of the dataset's manifest.
        trained_on: ranges of the training cases; None: a model that does not say.
        codes: of classes in a medical scheme, where the recipe gives any.
        fold: what of the dataset was trained on; None: its own train and val.
        versions: of the tools.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_name: Literal["detect-model/1"] = Field("detect-model/1", alias="schema")
    spec: ModelSpec
    parameters: Parameters
    weights: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)*$")
    weights_sha256: str
    operating_point: OperatingPoint | None
    linking: Linking = Linking()
    started_from: str
    training: dict[str, Any]
    imgsz_reason: str = ""
    dataset_sha256: str
    trained_on: TrainedOn | None = None
    codes: dict[str, Code] = Field(default_factory=dict)
    fold: Fold | None = None
    versions: dict[str, str]

    def write(self, bundle: Path) -> None:
        """Write `model.json` into a bundle; it is written last and makes the bundle whole."""
        write_json(bundle / FILE_NAME, self.model_dump(mode="json", by_alias=True))


def read_model_card(bundle: Path) -> ModelCard:
    """Read a bundle's `model.json` and check that its weights are the ones it was written for.

    Raises:
        InputError: no bundle there, not one of ours, or weights missing, changed or outside it.
    """
    path = bundle / FILE_NAME
    try:
        card = ModelCard.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            bundle, f"is no model: it has no {FILE_NAME}", "make one with `detect train`"
        ) from error
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check the path") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(key_path(first["loc"]))
        raise InputError(
            path, f"is not a model card ({where}: {first['msg']})", "train again"
        ) from error
    weights = bundle / card.weights
    if not weights.resolve().is_relative_to(bundle.resolve()):
        raise InputError(path, "names weights outside its own folder", "do not use this model")
    if not weights.is_file():
        raise InputError(weights, "is missing", "copy the whole folder of the model")
    if sha256(weights) != card.weights_sha256:
        raise InputError(weights, "is not the file model.json was written for", "copy it again")
    return card
