"""Change the classes of a recipe: merge several, or take the organs in place of the lesions."""

from typing import Any

from converters.core.errors import ParameterError, nearest
from converters.recipes.recipe import Recipe

ONE = "lesion"  # the merging that every recipe has: all classes as one


def merge_classes(recipe: Recipe, text: str) -> Recipe:
    """Replace a recipe's classes by others made of them.

    A class that is left out is no longer found, and slices with nothing else count as negatives.

    Args:
        recipe: with the classes there are.
        text: a merging that the recipe names; `lesion` for one class of all; or the new classes,
            with commas between, each `new=old+old` or the name of one to keep.

    Raises:
        InputError: a name that the recipe does not know, or a class named twice.
    """
    groups = _named(recipe, text) or _listed(recipe, text)
    named = [old for group in groups.values() for old in group]
    for old in named:
        if old not in recipe.classes:
            known = [*recipe.classes, *recipe.merges, ONE]
            raise ParameterError("classes", f"`{old}` is no class or merging", nearest(old, known))
        if named.count(old) > 1:
            raise ParameterError("classes", f"names `{old}` twice", "put it into one class")
    left_out = [n for old, labels in recipe.classes.items() if old not in named for n in labels]
    return _changed(
        recipe,
        classes={
            new: [n for old in group for n in recipe.classes[old]] for new, group in groups.items()
        },
        ignore=[*recipe.ignore, *left_out],
        within={
            organ: [new for new, group in groups.items() if set(group) <= set(inside)]
            for organ, inside in recipe.within.items()
        },
    )


def organ_classes(recipe: Recipe) -> Recipe:
    """Make the organs the classes: lesions within an organ belong to it, others are ignored.

    Raises:
        InputError: the recipe names no organ, or its pictures are cropped to them.
    """
    if not recipe.organs:
        raise ParameterError("targets", f"recipe `{recipe.name}` names no organ", "use lesions")
    if recipe.representation.crop == "organ":
        raise ParameterError(
            "targets", "would find the organs that the pictures are cropped to", "use --crop body"
        )
    inside = [name for names in recipe.within.values() for name in names]
    outside = [n for name, ls in recipe.classes.items() if name not in inside for n in ls]
    return _changed(
        recipe,
        classes={
            organ: [
                *labels,
                *(n for name in recipe.within.get(organ, []) for n in recipe.classes[name]),
            ]
            for organ, labels in recipe.organs.items()
        },
        organs={},
        ignore=[*recipe.ignore, *outside],
        within={},
    )


def _named(recipe: Recipe, text: str) -> dict[str, list[str]]:
    if text in recipe.merges:
        return recipe.merges[text]
    if text == ONE and ONE not in recipe.classes:
        return {ONE: list(recipe.classes)}
    return {}


def _listed(recipe: Recipe, text: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for part in text.split(","):
        new, equals, old = (piece.strip() for piece in part.partition("="))
        if not new or new in groups:
            raise ParameterError(
                "classes",
                f"`{text}` is no list of classes",
                "write for example malignant=hcc+metastasis,benign=cyst+hemangioma",
            )
        groups[new] = [name.strip() for name in old.split("+")] if equals else [new]
    return groups


def _changed(recipe: Recipe, **fields: object) -> Recipe:
    merged: dict[str, Any] = recipe.model_dump() | fields | {"merges": {}}
    same = {
        name for name, labels in recipe.classes.items() if merged["classes"].get(name) == labels
    }
    merged["codes"] = {name: code for name, code in recipe.codes.items() if name in same}
    return Recipe.model_validate(merged)
