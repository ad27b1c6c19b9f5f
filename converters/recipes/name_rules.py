"""Map the names of structures, segments and ROIs to the classes of a recipe."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from converters.recipes.recipe import Recipe

ORGAN = -1
"""Stands for "an organ" where a class index stands else."""

_SHOWN = 10  # names listed in one message
_LONGEST = 40  # characters of a name in a message


class Names:
    """The names of a recipe, and the class of each.

    An exact name goes before one with `*`; then `ignore` before classes before organs, and the
    earlier before the later.
    """

    def __init__(self, recipe: Recipe) -> None:
        """Sort the recipe's names."""
        groups: list[tuple[int | None, list[int | str]]] = [(None, recipe.ignore)]
        groups += list(enumerate(recipe.classes.values()))
        groups += [(ORGAN, names) for names in recipe.organs.values()]
        self._exact: dict[str, int | None] = {}
        self._patterns: list[tuple[re.Pattern[str], int | None]] = []
        for role, names in groups:
            for name in map(_folded, map(str, names)):
                if "*" in name:
                    self._patterns.append((_pattern(name), role))
                else:
                    self._exact.setdefault(name, role)

    def role(self, *names: str) -> int | None:
        """Return the class index of the first known name, `ORGAN`, or None for what is not wanted.

        Args:
            names: of one thing, the more telling first.
        """
        for name in map(_folded, names):
            if name in self._exact:
                return self._exact[name]
            for pattern, role in self._patterns:
                if pattern.fullmatch(name):
                    return role
        return None

    def knows(self, name: str) -> bool:
        """Return whether the recipe lists the name, be it as one to ignore."""
        name = _folded(name)
        return name in self._exact or any(p.fullmatch(name) for p, _ in self._patterns)


def listed(wanted: Recipe, names: Iterable[str], secrets: Iterable[str] = ()) -> str:
    """List names from files for a message, those nearest to the recipe's first.

    Args:
        wanted: the recipe.
        names: to write down.
        secrets: who the patient is: a name that holds a part of it is not shown.
    """
    groups = (*wanted.classes.values(), *wanted.organs.values())
    words = [_folded(str(name)).strip("*") for group in groups for name in group]
    parts = [p for text in secrets for p in re.split(r"[^\w]+", text.casefold()) if len(p) > 2]
    shown = {
        "".join(c if c.isprintable() else "?" for c in name)[:_LONGEST]
        for name in names
        if not any(part in name.casefold() for part in parts)
    }
    near = {n for word in words for n in get_close_matches(word, map(_folded, shown), n=3)}
    order = sorted(shown, key=lambda name: (_folded(name) not in near, name))
    more = len(order) - _SHOWN
    text = ", ".join(f"`{name}`" for name in order[:_SHOWN])
    return (text or "none") + (f" and {more} more" if more > 0 else "")


def _folded(name: str) -> str:
    return name.strip().casefold()


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(piece) for piece in name.split("*")), re.DOTALL)
