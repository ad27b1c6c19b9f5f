"""Recipes as the user names them: a shipped one by its name, or a file."""

from difflib import get_close_matches
from pathlib import Path

from converters.classes import merge_classes, organ_classes
from converters.errors import InputError
from converters.recipe import Recipe, load_recipe
from converters.windowing import Window
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


def with_window(recipe: Recipe, text: str) -> Recipe:
    """Replace a recipe's window by `LEVEL,WIDTH` in HU.

    Raises:
        InputError: not two numbers, or a width that is not above zero.
    """
    try:
        level, width = (float(part) for part in text.split(","))
        return recipe.model_copy(update={"window": Window(level=level, width=width)})
    except ValueError as error:
        raise InputError(
            "--window", f"`{text}` is no window", "write LEVEL,WIDTH: 60,200"
        ) from error
