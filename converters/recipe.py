"""What a dataset's files look like and mean: one YAML file a dataset."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from converters.errors import InputError
from converters.representation import Adjacent, Representation, Windows
from converters.windowing import Percentiles, Window

CASE = "{case}"
_PARTS = {part.__name__: part for part in (Window, Percentiles, Adjacent, Windows)}  # as pydantic

Labels = Annotated[
    list[int], BeforeValidator(lambda value: value if isinstance(value, list) else [value])
]
Text = Annotated[str, BeforeValidator(str)]


class Recipe(Representation):
    """How to read one dataset. See `datasets_yaml/lits.yaml` for an example with comments.

    What its pictures are made of (`window`, `channels`, `crop`, …) says `Representation`.

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
        licence, citation, source: of the data.
        tried: what was and was not tried on real files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    image: str
    mask: str
    case_id: str = CASE
    classes: dict[str, Labels] = Field(min_length=1)
    organs: dict[str, Labels] = Field(default_factory=dict)
    ignore: Labels = Field(default_factory=list)
    patients: list[list[Text]] = Field(default_factory=list)
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
        if repeated or min(named) < 1:
            raise ValueError(f"each mask label must be named once and be 1 or more: {repeated}")
        if self.crop == "organ" and not self.organs:
            raise ValueError("a crop to the organ needs `organs`")
        grouped = [case for group in self.patients for case in group]
        twice = sorted({case for case in grouped if grouped.count(case) > 1})
        if twice:
            raise ValueError(f"each case can be of one patient only: {', '.join(twice)}")
        return self

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
    path = [str(part) for part in first["loc"]]
    key = ".".join(part for part in path if part not in _PARTS)
    if first["type"] == "extra_forbidden":
        owner = next((_PARTS[part] for part in reversed(path) if part in _PARTS), Recipe)
        known = owner.model_fields
        near = get_close_matches(path[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`" if near else f"known keys: {', '.join(known)}"
        return f"unknown key `{key}`", hint
    return f"`{key}`: {first['msg']}" if key else str(first["msg"]), "mend the recipe"


def template_pattern(template: str) -> re.Pattern[str]:
    """Compile a path template; `{case}` captures a name."""
    pieces = re.split(r"(\*\*/|\*|\{case\})", template)
    meaning = {"**/": r"(?:.*/)?", "*": r"[^/]*", CASE: r"(?P<case>[^/]+?)"}
    return re.compile("".join(meaning.get(p, re.escape(p)) for p in pieces))
