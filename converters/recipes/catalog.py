"""Recipes as the user names them: a shipped one by its name, or a file."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from converters.core.errors import InputError
from converters.recipes.classes import merge_classes, organ_classes
from converters.recipes.recipe import Recipe, load_recipe
from datasets_yaml import recipe_files


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
            recipe = Recipe.model_validate({**dict(recipe), key: value})
        except ValidationError as error:
            what = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise InputError(option, f"cannot be used ({what})", remedy) from error
    return recipe


def _window(text: str) -> dict[str, Any]:
    first, _, second = text.partition(",")
    if first.endswith("%") and second.endswith("%"):
        return {"percentiles": [first[:-1], second[:-1]]}
    return {"level": first, "width": second}
