"""What a dataset's files look like and mean: one YAML file a dataset."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from converters.errors import InputError
from converters.templates import CASE, PATIENT, check_templates
from converters.windowing import Window

MaskKind = Literal["labels", "structures", "seg", "rtstruct", "boxes"]

Named = Annotated[  # label numbers, or names, by the kind of mask
    list[int | str], BeforeValidator(lambda value: value if isinstance(value, list) else [value])
]
Text = Annotated[str, BeforeValidator(str)]


class Rescale(BaseModel):
    """From the grey of a picture to HU, in DICOM's terms: HU = slope * grey + intercept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slope: float = Field(1.0, gt=0, allow_inf_nan=False)
    intercept: float = Field(0.0, allow_inf_nan=False)


class Recipe(BaseModel):
    """How to read one dataset. See `datasets_yaml/lits.yaml` for an example with comments.

    Attributes:
        name: what the user types.
        title: one line for people.
        image, mask: where the files lie below the root: a path with `{case}` in it, which captures
            the case; `*` matches within a name, `**/` any folders. `{patient}` in `image` captures
            the person. A DICOM series is a folder, and so may be its SEG or RTSTRUCT, even the same
            one. With structures, `{structure}` in `mask` captures the name of each; with boxes,
            `mask` may be one table for all cases, without `{case}`.
        mask_kind: what `mask` is: `labels`, one volume of label numbers; `structures`, one binary
            volume a structure; `seg`, DICOM segmentations; `rtstruct`, DICOM structure sets;
            `boxes`, boxes without masks on pictures (DeepLesion).
        case_id: how the case is called in the dataset, with `{case}` for what was captured.
        classes: class name → label number (or numbers, merged) in the mask; the order gives the
            class index. With other kinds than labels: names of structures, segments or ROIs, or
            type codes of boxes; `*` matches anything, upper and lower case are the same.
        organs: organ name → as classes; not detected, but they say which slices show the organ.
        ignore: label numbers or names that are neither.
        patients: groups of captured cases that are one person.
        rescale: from the grey of pictures to HU, with boxes; without it, 16-bit grey is HU + 32768.
        window: level and width in HU.
        channels: how slices become image channels.
        modality: DICOM's code.
        licence, citation, source: of the data.
        tried: what was and was not tried on real files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    image: str
    mask: str
    mask_kind: MaskKind = "labels"
    case_id: str = CASE
    classes: dict[str, Named] = Field(min_length=1)
    organs: dict[str, Named] = Field(default_factory=dict)
    ignore: Named = Field(default_factory=list)
    patients: list[list[Text]] = Field(default_factory=list)
    rescale: Rescale | None = None
    window: Window
    channels: Literal["gray"] = "gray"
    modality: str = "CT"
    licence: str = ""
    citation: str = ""
    source: str = ""
    tried: str = ""

    @model_validator(mode="before")
    @classmethod
    def _numbers_or_names(cls, data: Any) -> Any:
        """Read the values as what the kind of mask makes of them: YAML gives text alone."""
        if not isinstance(data, dict):
            return data
        value = _number if data.get("mask_kind", "labels") == "labels" else _name
        given = {
            key: _each(data[key], value) for key in ("classes", "organs", "ignore") if key in data
        }
        return data | given

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        check_templates(self.image, self.mask, self.case_id, self.mask_kind)
        groups = (*self.classes.values(), *self.organs.values(), self.ignore)
        named = [value for group in groups for value in group]
        repeated = sorted({str(value) for value in named if named.count(value) > 1})
        if self.mask_kind == "labels":
            low = [n for n in named if not isinstance(n, int) or n < 1]
            if repeated or low:
                listed = ", ".join(repeated or map(str, low))
                raise ValueError(f"each mask label must be named once and be 1 or more: [{listed}]")
        elif repeated or "" in named:
            raise ValueError(
                f"each name must be there once and not be empty: {', '.join(repeated)}"
            )
        grouped = [case for group in self.patients for case in group]
        twice = sorted({case for case in grouped if grouped.count(case) > 1})
        if twice:
            raise ValueError(f"each case can be of one patient only: {', '.join(twice)}")
        if self.patients and PATIENT in self.image:
            raise ValueError(f"either `patients` or {PATIENT} says who is who, not both")
        return self

    @property
    def class_names(self) -> list[str]:
        """Class names in order of their index."""
        return list(self.classes)

    @property
    def class_of_label(self) -> dict[int, int]:
        """Label number in the mask → class index."""
        return {int(n): i for i, labels in enumerate(self.classes.values()) for n in labels}

    @property
    def organ_labels(self) -> set[int]:
        """Label numbers of organs."""
        return {int(n) for labels in self.organs.values() for n in labels}

    @property
    def known_labels(self) -> set[int]:
        """Every label number that a mask may hold, background included."""
        return {0, *self.class_of_label, *self.organ_labels, *map(int, self.ignore)}


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        InputError: unreadable, not YAML, or a wrong key (the nearest right one is named).
    """
    try:
        # All values as the text they are: to YAML's own types, case 007 would be 7 and 008 not 8.
        content = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # noqa: S506
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"cannot be read ({error})", "give a recipe file") from error
    except yaml.YAMLError as error:
        raise InputError(path, f"is not YAML ({error})", "mend the file") from error
    if not isinstance(content, dict):
        raise InputError(path, "is not a mapping of keys", "see the recipes in datasets_yaml")
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise InputError(path, *_explain(error)) from error


def _explain(error: ValidationError) -> tuple[str, str]:
    # An unknown key first: it may be the missing one, misspelt.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        parts: dict[str, type[BaseModel]] = {"window": Window, "rescale": Rescale}
        known = parts.get(
            str(first["loc"][0]) if len(first["loc"]) > 1 else "", Recipe
        ).model_fields
        near = get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`" if near else f"known keys: {', '.join(known)}"
        return f"unknown key `{key}`", hint
    return f"`{key}`: {first['msg']}" if key else str(first["msg"]), "mend the recipe"


def _each(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to each value of a mapping, of a list, or to the one value."""
    if isinstance(value, dict):
        return {key: _each(item, function) for key, item in value.items()}
    return [function(item) for item in (value if isinstance(value, list) else [value])]


def _number(value: Any) -> Any:
    try:
        return int(value) if isinstance(value, str) else value
    except ValueError:
        return value  # refused where all values are looked at together


def _name(value: Any) -> Any:
    return str(value).strip() if isinstance(value, str | int) else value
