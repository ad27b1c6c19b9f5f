"""Read and write `dataset.json`: the content of a dataset folder, and the request behind it."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from converters.core.distribution import installed_version
from converters.core.errors import InputError
from converters.core.files import write_json
from converters.dataset.negatives import Policy
from converters.preprocessing.frame import Frame
from converters.preprocessing.representation import key_path
from converters.preprocessing.windowing import Window
from converters.recipes.recipe import Code, Recipe

FILE_NAME = "dataset.json"


class CaseEntry(BaseModel):
    """One case of the dataset.

    Attributes:
        id, patient: names.
        split: train, val or test.
        spacing_mm: along (column, row, slice).
        shape: slices, rows, columns.
        affine: canonical voxel (column, row, slice) to patient mm, LPS.
        slices: slices written.
        boxes, lesions: counts by class name.
        small_boxes: boxes under 3 mm, whether kept or not.
        dropped_boxes: boxes under the minimum size.
        image_sha256, mask_sha256: of the source files.
        synthetic: the case is for training only: its lesions are made up, and others' are not.
        notes: what the masks leave open, a line each.
        frame: where the pictures lie on the slices; None, in older datasets: all of them.
        windows: as applied, one a channel.
        value_range: 1st and 99th percentile of a CT's values, HU; None in older datasets.
    """

    model_config = ConfigDict(extra="forbid")

    id: str
    patient: str
    split: Literal["train", "val", "test"]
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    affine: list[list[float]]
    slices: int
    boxes: dict[str, int]
    lesions: dict[str, int]
    small_boxes: int
    dropped_boxes: int
    image_sha256: str
    mask_sha256: str
    synthetic: bool = False
    notes: list[str] = Field(default_factory=list)
    frame: Frame | None = None
    windows: list[Window] = Field(default_factory=list)
    value_range: tuple[float, float] | None = None

    @property
    def placed(self) -> Frame:
        """Return where the pictures lie on the slices, in older datasets too."""
        return self.frame or Frame.whole(self.shape)


class FailedCase(BaseModel):
    """A case that could not be read, and the reason without a path, which could name a patient."""

    model_config = ConfigDict(extra="forbid")

    id: str
    problem: str


class Request(BaseModel):
    """The request of a conversion; equal requests and sources give equal bytes."""

    model_config = ConfigDict(extra="forbid")

    recipe: Recipe
    more: list[Recipe] = Field(default_factory=list)
    negatives: dict[str, Policy]
    split: dict[str, float] | dict[str, list[str]]
    min_size_mm: float
    seed: int
    resample_mask: bool = False


class Manifest(BaseModel):
    """The content of `dataset.json`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_name: Literal["detect-dataset/1"] = Field("detect-dataset/1", alias="schema")
    request: Request
    versions: dict[str, str]
    cases: list[CaseEntry]
    failed: list[FailedCase]

    @property
    def class_names(self) -> list[str]:
        """Return the class names in order of their index."""
        return self.request.recipe.class_names

    @property
    def body_parts(self) -> list[str]:
        """List the body parts that the recipes name, sorted; empty where a recipe names none."""
        parts = {recipe.body_part for recipe in (self.request.recipe, *self.request.more)}
        return [] if "" in parts else sorted(parts)

    @property
    def codes(self) -> dict[str, Code]:
        """Return the codes of the classes; those of the first recipe come first."""
        recipes = [self.request.recipe, *self.request.more]
        codes = {name: code for recipe in reversed(recipes) for name, code in recipe.codes.items()}
        return {name: codes[name] for name in self.class_names if name in codes}

    def write(self, folder: Path) -> None:
        """Write `dataset.json` into a folder."""
        write_json(folder / FILE_NAME, self.model_dump(mode="json", by_alias=True))


def read_manifest(folder: Path) -> Manifest:
    """Read a dataset's manifest.

    Raises:
        InputError: no dataset there, or a manifest that is not one of ours.
    """
    path = folder / FILE_NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            folder, f"is no dataset: it has no {FILE_NAME}", "make one with `detect convert`"
        ) from error
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check the path") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(key_path(first["loc"]))
        raise InputError(
            path, f"is not a dataset manifest ({where}: {first['msg']})", "convert again"
        ) from error


def tool_versions() -> dict[str, str]:
    """Return the versions of the packages that the bytes of a dataset depend on."""
    parts = (
        "detect",
        "opencv-python",
        "connected-components-3d",
        "nibabel",
        "SimpleITK",
        "pydicom",
    )
    return {part: installed_version(part) for part in parts}
