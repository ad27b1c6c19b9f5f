"""What a dataset's files look like and mean: one YAML file a dataset."""

import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from converters.errors import InputError, nearest
from converters.windowing import Window

CASE = "{case}"

Labels = Annotated[
    list[int], BeforeValidator(lambda value: value if isinstance(value, list) else [value])
]
Text = Annotated[str, BeforeValidator(str)]


class Recipe(BaseModel):
    """How to read one dataset. See `datasets_yaml/lits.yaml` for an example with comments.

    Attributes:
        name: what the user types.
        title: one line for people.
        image, mask: where the files lie below the root: a path with `{case}` in it, which captures
            the case; `*` matches within a name, a leading `**/` any folders.
        case_id: how the case is called in the dataset, with `{case}` for what was captured.
        classes: class name → label number (or numbers, merged) in the mask; the order gives the
            class index.
        organs: organ name → label numbers; not detected, but they say which slices show the organ.
        ignore: label numbers that are neither.
        patients: groups of captured cases that are one person.
        cases: numbers of the captured cases that belong, as `1-500, 507`, where a folder holds more
            than one dataset; empty: all.
        faulty: captured case → why it is left out.
        shared_patients: recipe of a set with some of the same people → captured case here → the one
            there; empty where nobody knows who is who.
        within: organ → classes that are part of it when the organ itself is to be found.
        merges: name of a merging → new class → classes that go into it.
        normal: what its scans are known to be free of; without it, a set without classes gives no
            normal cases.
        window: level and width in HU.
        channels: how slices become image channels.
        modality: DICOM's code.
        layout: what to unpack, and where.
        licence, citation, source: of the data.
        tried: what was and was not tried on real files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    image: str
    mask: str
    case_id: str = CASE
    classes: dict[str, Labels] = Field(default_factory=dict)
    organs: dict[str, Labels] = Field(default_factory=dict)
    ignore: Labels = Field(default_factory=list)
    patients: list[list[Text]] = Field(default_factory=list)
    cases: Text = ""
    faulty: dict[Text, str] = Field(default_factory=dict)
    shared_patients: dict[str, dict[Text, Text]] = Field(default_factory=dict)
    within: dict[str, list[str]] = Field(default_factory=dict)
    merges: dict[str, dict[str, list[str]]] = Field(default_factory=dict)
    normal: str = ""
    window: Window
    channels: Literal["gray"] = "gray"
    modality: str = "CT"
    layout: str = ""
    licence: str = ""
    citation: str = ""
    source: str = ""
    tried: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        for field in ("image", "mask", "case_id"):
            if getattr(self, field).count(CASE) != 1:
                raise ValueError(f"`{field}` must contain {CASE} exactly once")
        named = [n for group in (self.classes, self.organs) for ls in group.values() for n in ls]
        named += self.ignore
        repeated = sorted({n for n in named if named.count(n) > 1})
        if repeated or min(named, default=1) < 1:
            raise ValueError(f"each mask label must be named once and be 1 or more: {repeated}")
        if not self.classes and not self.organs:
            raise ValueError("a recipe needs `classes` or `organs`")
        grouped = [case for group in self.patients for case in group]
        twice = sorted({case for case in grouped if grouped.count(case) > 1})
        if twice:
            raise ValueError(f"each case can be of one patient only: {', '.join(twice)}")
        self._check_names()
        return self

    def _check_names(self) -> None:
        _numbers(self.cases)
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
        """Whether a captured case is one of the recipe's `cases`."""
        return not self.cases or (
            captured.isdecimal() and any(int(captured) in part for part in _numbers(self.cases))
        )

    @property
    def class_names(self) -> list[str]:
        """Class names in order of their index."""
        return list(self.classes)

    @property
    def class_of_label(self) -> dict[int, int]:
        """Label number in the mask → class index."""
        return {n: i for i, labels in enumerate(self.classes.values()) for n in labels}

    @property
    def organ_labels(self) -> set[int]:
        """Label numbers of organs."""
        return {n for labels in self.organs.values() for n in labels}

    @property
    def known_labels(self) -> set[int]:
        """Every label number that a mask may hold, background included."""
        return {0, *self.class_of_label, *self.organ_labels, *self.ignore}


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
        known = Window.model_fields if key.startswith("window.") else Recipe.model_fields
        return f"unknown key `{key}`", nearest(str(first["loc"][-1]), known)
    return f"`{key}`: {first['msg']}" if key else str(first["msg"]), "mend the recipe"


def _numbers(text: str) -> list[range]:
    """`1-500, 507` as ranges."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if not (m := re.fullmatch(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", part)):
            raise ValueError(f"`cases`: `{part}` is no number or range; write for example 1-500")
        found.append(range(int(m[1]), int(m[2] or m[1]) + 1))
    return found


def template_pattern(template: str) -> re.Pattern[str]:
    """Compile a path template; `{case}` captures a name."""
    pieces = re.split(r"(\*\*/|\*|\{case\})", template)
    meaning = {"**/": r"(?:.*/)?", "*": r"[^/]*", CASE: r"(?P<case>[^/]+?)"}
    return re.compile("".join(meaning.get(p, re.escape(p)) for p in pieces))
