"""Find recipes by name or file, adapt them to a request, and describe them."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from textwrap import fill
from typing import Any

from pydantic import ValidationError

from converters.core.errors import InputError, ParameterError
from converters.recipes.classes import merge_classes, organ_classes
from converters.recipes.recipe import Recipe, load_recipe
from datasets_yaml import recipe_files

_KEY_WIDTH = 10

MASK_NOUNS = {
    "labels": "label volume",
    "structures": "volume a structure",
    "seg": "DICOM-SEG",
    "rtstruct": "RTSTRUCT",
    "boxes": "boxes",
    "cuboids": "3D boxes",
}


def find_recipe(name: str) -> Recipe:
    """Load a recipe by the name of a shipped one, or from a YAML file.

    Raises:
        InputError: no such recipe; the nearest names are given.
    """
    shipped = recipe_files()
    if name in shipped:
        return load_recipe(shipped[name])
    if Path(name).suffix in (".yaml", ".yml") or Path(name).is_file():
        return load_recipe(Path(name))
    near = get_close_matches(name, shipped, n=2)
    hint = f"did you mean {' or '.join(near)}" if near else f"known: {', '.join(shipped)}"
    raise InputError(name, "is no recipe", f"{hint}; or give a YAML file of your own")


def wanted_recipe(recipe: Recipe, targets: str, classes: str | None) -> Recipe:
    """Adapt the classes of a recipe to a request.

    Args:
        recipe: as written.
        targets: `lesions`, or `organs` for boxes of the organs.
        classes: merging of its classes, see `merge_classes`; None keeps them. Sets without lesions
            stay without.

    Raises:
        InputError: an unknown target, no organs, or classes that the recipe does not know.
    """
    if targets not in ("lesions", "organs"):
        raise ParameterError("targets", f"`{targets}` is no target", "use lesions or organs")
    if targets == "organs":
        recipe = organ_classes(recipe)
    return merge_classes(recipe, classes) if classes and recipe.classes else recipe


def with_pictures(
    recipe: Recipe,
    window: str | None = None,
    channels: str | None = None,
    crop: str | None = None,
    spacing: float | None = None,
) -> Recipe:
    """Change how a recipe makes its pictures; None keeps a setting.

    Args:
        recipe: to start from.
        window: `LEVEL,WIDTH` in HU, or `LOW%,HIGH%`: percentiles of the body's values.
        channels: `gray`, `adjacent:MM` or `windows`.
        crop: `none`, `body` or `organ`.
        spacing: pixel size in mm; 0: the scan's own pixels.

    Raises:
        InputError: one of them is not understood, or the recipe names no organ to crop to.
    """
    changes: dict[str, tuple[str, Any, str]] = {}
    if window is not None:
        changes["window"] = "window", _window(window), "write LEVEL,WIDTH: 60,200; or 1%,99%"
    if channels is not None:
        changes["channels"] = (
            "channels",
            channels,
            "use gray, adjacent:MM as in adjacent:2, or windows",
        )
    if crop is not None:
        changes["crop"] = "crop", crop, "use none, body, or organ with a recipe that names organs"
    if spacing is not None:
        changes["spacing_mm"] = "spacing", spacing or None, "give mm from 0.05 to 50, as in 0.8"
    for key, (parameter, value, remedy) in changes.items():
        try:
            recipe = Recipe.model_validate(recipe.model_dump() | {key: value})
        except ValidationError as error:
            what = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ParameterError(parameter, f"cannot be used ({what})", remedy) from error
    return recipe


def _window(text: str) -> dict[str, Any]:
    first, _, second = text.partition(",")
    if first.endswith("%") and second.endswith("%"):
        return {"percentiles": [first[:-1], second[:-1]]}
    return {"level": first, "width": second}


def shipped_recipes() -> list[Recipe]:
    """Load every recipe that `detect` ships, in order of the names."""
    return [load_recipe(file) for file in recipe_files().values()]


def mask_noun(recipe: Recipe) -> str:
    """Name the kind of annotation that a recipe reads."""
    return MASK_NOUNS[recipe.mask_kind]


def describe_dataset(name: str) -> str:
    """Describe one recipe, with the commands that convert it and train on it.

    Raises:
        InputError: no such recipe, or one with a fault.
    """
    recipe = find_recipe(name)
    lines = [f"{recipe.name}: {recipe.title}"]
    lines += [
        fill(
            value,
            width=100,
            initial_indent=f"  {key:{_KEY_WIDTH}}",
            subsequent_indent=" " * (2 + _KEY_WIDTH),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for key, value in _facts(recipe)
        if value
    ]
    return "\n".join([*lines, "", *(f"    {command}" for command in commands(name, recipe))])


def commands(name: str, recipe: Recipe) -> list[str]:
    """List the commands from the unpacked dataset to a trained model."""
    root, out = recipe.name.upper().replace("-", "_"), f"data/{recipe.name}"
    targets = "" if recipe.classes else " --targets organs"
    lines = [
        f"detect convert {name} --root {root} --out {out}{targets}",
        f"detect check {out}",
        f"detect train --model yolov8n --data {out}",
    ]
    lines += [
        f"detect convert {name} --root {root} --out {out}-{merging} --classes {merging}"
        for merging in recipe.merges
    ]
    if recipe.normal and not recipe.classes:
        lines.append(f"detect convert lits {name} --root LITS --root {root} --out data/lits-{name}")
    return lines


def _facts(recipe: Recipe) -> Iterator[tuple[str, str]]:
    yield "modality", recipe.representation.modality
    yield "pictures", recipe.representation.describe()
    yield "classes", ", ".join(recipe.classes)
    for merging, groups in recipe.merges.items():
        sums = ", ".join(f"{new} = {' + '.join(old)}" for new, old in groups.items())
        yield "merging", f"{merging}: {sums}"
    yield "organs", ", ".join(recipe.organs)
    yield "normal", recipe.normal
    yield "scans", recipe.image
    yield "masks", f"{recipe.mask} ({mask_noun(recipe)})"
    yield "layout", recipe.layout
    for group in recipe.patients:
        yield "patients", f"{', '.join(group)} are one person"
    for other, pairs in recipe.shared_patients.items():
        known = f"{len(pairs)} are grouped" if pairs else "who is who is unknown: not to be mixed"
        yield "shared", f"people with {other}: {known}"
    for reason in dict.fromkeys(recipe.faulty.values()):
        cases = [case for case, why in recipe.faulty.items() if why == reason]
        yield "left out", f"{', '.join(cases)}: {reason}"
    yield "licence", recipe.licence
    yield "citation", recipe.citation
    yield "source", recipe.source
    yield "tried", recipe.tried
