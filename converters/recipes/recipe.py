"""Read recipes: YAML files that state how a dataset lies on disk and what its labels mean."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from converters.core.errors import InputError, nearest
from converters.imaging.dicom.body_parts import BODY_PARTS
from converters.imaging.rescale import Rescale
from converters.preprocessing.representation import (
    Adjacent,
    Representation,
    Represented,
    Windows,
    key_path,
)
from converters.preprocessing.windowing import Percentiles, Window
from converters.recipes.templates import CASE, PATIENT, check_templates

MaskKind = Literal["labels", "structures", "seg", "rtstruct", "boxes", "cuboids"]

Named = Annotated[  # label numbers, or names, by the kind of mask
    list[int | str], BeforeValidator(lambda value: value if isinstance(value, list) else [value])
]
Text = Annotated[str, BeforeValidator(str)]


class Code(BaseModel):
    """The code of a class in a medical coding scheme, for the DICOM objects of `detect predict`.

    Attributes:
        value: the code, as `109841003`.
        meaning: for people.
        scheme: DICOM's designator of the scheme; SCT is SNOMED CT.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: str = Field(min_length=1, max_length=16)  # DICOM's limits of SH and LO
    meaning: str = Field(min_length=1, max_length=64)
    scheme: str = Field("SCT", min_length=1, max_length=16)


class Recipe(Represented):
    """A recipe; `datasets_yaml/lits.yaml` is an example with comments.

    Attributes:
        representation: how pictures are made; its keys (`window`, `channels`, `crop`, …) lie among
            the others in the file.
        name: what the user types.
        title: one line for people.
        image, mask: where the files lie below the root: a path with `{case}` in it, which captures
            the case; `*` matches within a name, `**/` any folders. `{patient}` in `image` captures
            the person. A DICOM series is a folder, and so may be its SEG or RTSTRUCT, even the same
            one. With structures, `{structure}` in `mask` captures the name of each; with boxes,
            `mask` may be one table for all cases, without `{case}`.
        mask_kind: what `mask` is: `labels`, one volume of label numbers, or a folder of pictures,
            one a slice of a DICOM series in the order of their names; `structures`, one binary
            volume a structure; `seg`, DICOM segmentations; `rtstruct`, DICOM structure sets;
            `boxes`, boxes without masks on pictures (DeepLesion); `cuboids`, 3D boxes without masks
            in a table, in which `{case}` is the name of a series (LLD-MMRI).
        case_id: how the case is called in the dataset, with `{case}` for what was captured.
        classes: class name → label number (or numbers, merged) in the mask; the order gives the
            class index. With other kinds than labels: names of structures, segments or ROIs, or
            type codes of boxes; `*` matches anything, upper and lower case are the same.
        organs: organ name → as classes; not detected, but they say which slices show the organ.
        ignore: label numbers or names that are neither.
        patients: groups of captured cases that are one person.
        body_part: what its scans show, in DICOM's terms for Body Part Examined, as `ABDOMEN`;
            empty: various, or not known.
        phase: of the series wanted, where a table of cuboids names it; empty: all.
        cases: numbers of the captured cases that belong, as `1-500, 507`, where a folder holds more
            than one dataset; empty: all.
        faulty: captured case, or patient, → why it is left out.
        shared_patients: recipe of a set with some of the same people → captured case here → the one
            there; empty where nobody knows who is who.
        within: organ → classes that are part of it when the organ itself is to be found.
        merges: name of a merging → new class → classes that go into it.
        codes: class name → its code in a medical scheme, for DICOM SR and SEG; without one, a class
            is coded as a lesion, with its name as text.
        synthetic: its lesions are made up: beside other recipes its cases are for training only.
        normal: what its scans are known to be free of; without it, a set without classes gives no
            normal cases.
        rescale: from the grey of pictures to HU, with boxes; without it, 16-bit grey is HU + 32768.
        layout: what to unpack, and where.
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
    classes: dict[str, Named] = Field(default_factory=dict)
    organs: dict[str, Named] = Field(default_factory=dict)
    ignore: Named = Field(default_factory=list)
    patients: list[list[Text]] = Field(default_factory=list)
    body_part: Text = ""
    phase: Text = ""
    cases: Text = ""
    faulty: dict[Text, str] = Field(default_factory=dict)
    shared_patients: dict[str, dict[Text, Text]] = Field(default_factory=dict)
    within: dict[str, list[str]] = Field(default_factory=dict)
    merges: dict[str, dict[str, list[str]]] = Field(default_factory=dict)
    synthetic: bool = False
    normal: str = ""
    codes: dict[str, Code] = Field(default_factory=dict)
    rescale: Rescale | None = None
    layout: str = ""
    licence: str = ""
    citation: str = ""
    source: str = ""
    tried: str = ""

    @model_validator(mode="before")
    @classmethod
    def _numbers_or_names(cls, data: Any) -> Any:
        """Read values as numbers or names by the kind of mask; YAML gives text."""
        if not isinstance(data, dict):
            return data
        value = _number if data.get("mask_kind", "labels") == "labels" else _name
        groups = {
            key: _each(data[key], value) for key in ("classes", "organs", "ignore") if key in data
        }
        return data | groups

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if not self.classes and not self.organs:
            raise ValueError("a recipe needs `classes` or `organs`")
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
        if self.representation.crop == "organ" and not self.organs:
            raise ValueError("a crop to the organ needs `organs`")
        grouped = [case for group in self.patients for case in group]
        twice = sorted({case for case in grouped if grouped.count(case) > 1})
        if twice:
            raise ValueError(f"each case can be of one patient only: {', '.join(twice)}")
        if self.patients and PATIENT in self.image:
            raise ValueError(f"either `patients` or {PATIENT} says who is who, not both")
        self._check_names()
        return self

    def _check_names(self) -> None:
        _numbers(self.cases)
        if self.body_part and self.body_part not in BODY_PARTS:
            hint = nearest(self.body_part, sorted(BODY_PARTS))
            raise ValueError(f"`body_part`: `{self.body_part}` is not known; {hint}")
        for name in self.codes:
            if name not in self.classes:
                raise ValueError(f"`codes`: `{name}` is no class; {nearest(name, self.classes)}")
        for organ in self.within:
            if organ not in self.organs:
                raise ValueError(f"`within`: `{organ}` is no organ; {nearest(organ, self.organs)}")
        for key, groups in {"within": self.within, **self.merges}.items():
            old = [name for group in groups.values() for name in group]
            for name in old:
                if name not in self.classes:
                    hint = nearest(name, self.classes)
                    raise ValueError(f"`{key}`: `{name}` is no class; {hint}")
                if old.count(name) > 1:
                    raise ValueError(f"`{key}` names class `{name}` twice")

    def holds(self, captured: str) -> bool:
        """Return whether a captured case is one of the recipe's `cases`."""
        return not self.cases or (
            captured.isdecimal() and any(int(captured) in part for part in _numbers(self.cases))
        )

    @property
    def class_names(self) -> list[str]:
        """Return the class names in order of their index."""
        return list(self.classes)

    @property
    def class_of_label(self) -> dict[int, int]:
        """Map label numbers in the mask to class indices."""
        return {int(n): i for i, labels in enumerate(self.classes.values()) for n in labels}

    @property
    def organ_labels(self) -> set[int]:
        """Return the label numbers of organs."""
        return {int(n) for labels in self.organs.values() for n in labels}

    @property
    def known_labels(self) -> set[int]:
        """Return every label number that a mask may hold, background included."""
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


# The parts of a key's place that pydantic reports → the model whose keys are to be offered.
_PARTS: dict[str, type[BaseModel]] = {
    part.__name__: part for part in (Window, Percentiles, Adjacent, Windows)
} | {"rescale": Rescale, "codes": Code}
_KEYS = [key for part in (Representation, Recipe) for key in part.model_fields]
_KEYS.remove("representation")
_TAGS = _PARTS.keys() - {"rescale", "codes"}  # which of them are no keys of the file


def _explain(error: ValidationError) -> tuple[str, str]:
    # An unknown key first: it may be the missing one, misspelt.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    path = key_path(first["loc"])
    key = ".".join(part for part in path if part not in _TAGS)
    if first["type"] == "extra_forbidden":
        owner = next((_PARTS[part] for part in reversed(path[:-1]) if part in _PARTS), None)
        known = owner.model_fields if owner else _KEYS
        return f"unknown key `{key}`", nearest(path[-1], known)
    return f"`{key}`: {first['msg']}" if key else str(first["msg"]), "mend the recipe"


def _numbers(text: str) -> list[range]:
    """Parse ranges such as `1-500, 507`."""
    ranges = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if not (m := re.fullmatch(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", part)):
            raise ValueError(f"`cases`: `{part}` is no number or range; write for example 1-500")
        ranges.append(range(int(m[1]), int(m[2] or m[1]) + 1))
    return ranges


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
