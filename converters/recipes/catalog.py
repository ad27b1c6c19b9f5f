"""Recipes as the user names them: a shipped one by its name, or a file."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from textwrap import fill
from typing import Any

from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.table import Table

from converters.core.errors import InputError
from converters.recipes.classes import merge_classes, organ_classes
from converters.recipes.recipe import Recipe, load_recipe
from datasets_yaml import recipe_files

_KEY_WIDTH = 10

_KINDS = {
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
    """Turn a recipe to what is to be found.

    Args:
        recipe: as written.
        targets: `lesions`, or `organs` for boxes of the organs.
        classes: other classes made of its classes, see `merge_classes`; None: as they are. Sets
            without lesions stay without.

    Raises:
        InputError: another target, no organs, or classes that the recipe does not know.
    """
    if targets not in ("lesions", "organs"):
        raise InputError("--targets", f"`{targets}` is no target", "use lesions or organs")
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
    """Replace what a recipe says of its pictures by what the command line says; None keeps it.

    Args:
        recipe: to start from.
        window: `LEVEL,WIDTH` in HU, or `LOW%,HIGH%`: percentiles of the body's values.
        channels: `gray`, `adjacent:MM` or `windows`.
        crop: `none`, `body` or `organ`.
        spacing: pixel size in mm; 0: the scan's own pixels.

    Raises:
        InputError: one of them is not understood, or the recipe names no organ to crop to.
    """
    given: dict[str, tuple[str, Any, str]] = {}
    if window is not None:
        given["window"] = "--window", _window(window), "write LEVEL,WIDTH: 60,200; or 1%,99%"
    if channels is not None:
        given["channels"] = (
            "--channels",
            channels,
            "use gray, adjacent:MM as in adjacent:2, or windows",
        )
    if crop is not None:
        given["crop"] = "--crop", crop, "use none, body, or organ with a recipe that names organs"
    if spacing is not None:
        given["spacing_mm"] = "--spacing", spacing or None, "give mm from 0.05 to 50, as in 0.8"
    for key, (option, value, remedy) in given.items():
        try:
            recipe = Recipe.model_validate(recipe.model_dump() | {key: value})
        except ValidationError as error:
            what = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise InputError(option, f"cannot be used ({what})", remedy) from error
    return recipe


def _window(text: str) -> dict[str, Any]:
    first, _, second = text.partition(",")
    if first.endswith("%") and second.endswith("%"):
        return {"percentiles": [first[:-1], second[:-1]]}
    return {"level": first, "width": second}


def datasets_table() -> Table:
    """List every recipe with its classes and licence."""
    table = Table(
        box=SIMPLE_HEAD,
        caption="Organs in brackets: with --targets organs. `detect datasets NAME` says more.",
    )
    table.caption_justify = "left"
    for column in ("name", "title", "modality", "classes", "masks", "licence"):
        table.add_column(column, overflow="fold")
    for file in recipe_files().values():
        recipe = load_recipe(file)
        table.add_row(
            recipe.name,
            recipe.title,
            recipe.representation.modality,
            ", ".join(recipe.classes) or f"[{len(recipe.organs)} organs]",
            _kind(recipe),
            recipe.licence,
        )
    return table


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
    """The commands from the unpacked dataset to a trained model."""
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


def _kind(recipe: Recipe) -> str:
    return _KINDS[recipe.mask_kind]


def _facts(recipe: Recipe) -> Iterator[tuple[str, str]]:
    yield "modality", recipe.representation.modality
    yield "pictures", recipe.representation.describe()
    yield "classes", ", ".join(recipe.classes)
    for merging, groups in recipe.merges.items():
        made = ", ".join(f"{new} = {' + '.join(old)}" for new, old in groups.items())
        yield "merging", f"{merging}: {made}"
    yield "organs", ", ".join(recipe.organs)
    yield "normal", recipe.normal
    yield "scans", recipe.image
    yield "masks", f"{recipe.mask} ({_kind(recipe)})"
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
