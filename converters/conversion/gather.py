"""The cases of a conversion: those of one recipe, or of several as one dataset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from converters.conversion.sources import find_cases
from converters.core.errors import InputError
from converters.masks.case_source import CaseSource
from converters.recipes.recipe import Recipe
from converters.recipes.templates import CASE


@dataclass(frozen=True)
class Cases:
    """What there is to convert.

    Attributes:
        recipes: the one that gives the classes first, then the others in the order given; each with
            the classes in the first's order, or without any.
        cases: of all recipes, in their order.
        recipe_of: case → index of its recipe.
        left_out: case → why its recipe leaves it out.
    """

    recipes: list[Recipe]
    cases: list[CaseSource] = field(default_factory=list)
    recipe_of: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def gather(sources: Sequence[tuple[Recipe, Path]]) -> Cases:
    """Find the cases of one or more recipes below their roots.

    Sets that share people (`shared_patients`) are joined where it is known who is who, so that one
    person stays on one side of a split, and refused where it is not.

    Raises:
        InputError: as `find_cases`; or the recipes do not go together.
    """
    order = sorted(sources, key=lambda source: not source[0].classes)
    gathered = Cases(_alike([recipe for recipe, _ in order]))
    for index, (recipe, root) in enumerate(order):
        cases, left_out = sound_cases(recipe, root)
        gathered.left_out.update(left_out)
        for case in cases:
            if case.case_id in gathered.recipe_of:
                raise InputError(
                    root,
                    f"holds a second case `{case.case_id}`",
                    "give each recipe a `case_id` of its own, or leave one folder out",
                )
            gathered.cases.append(case)
            gathered.recipe_of[case.case_id] = index
    if not gathered.cases:
        raise InputError(sources[0][1], "holds faulty cases only", "see `faulty` in the recipe")
    person = _people(gathered)
    joined = [replace(case, patient_id=person[case.patient_id]) for case in gathered.cases]
    return replace(gathered, cases=joined)


def sound_cases(recipe: Recipe, root: Path) -> tuple[list[CaseSource], dict[str, str]]:
    """Find the cases of one recipe, and which of them it leaves out, and why.

    Raises:
        InputError: as `find_cases`.
    """
    faulty = {recipe.case_id.replace(CASE, c): why for c, why in recipe.faulty.items()}
    faulty |= recipe.faulty  # where the recipe captures patients, those
    sound, left_out = [], {}
    for case in find_cases(recipe, root):
        if reason := faulty.get(case.case_id) or faulty.get(case.patient_id):
            left_out[case.case_id] = reason
        else:
            sound.append(case)
    return sound, left_out


def _alike(recipes: Sequence[Recipe]) -> list[Recipe]:
    first = recipes[0]
    if not first.classes:
        raise InputError(
            first.name,
            "names organs and no lesions",
            "use --targets organs, or convert it together with a set that has lesions",
        )
    result = [first]
    for other in recipes[1:]:
        if other.representation.modality != first.representation.modality:
            raise InputError(
                other.name,
                f"is {other.representation.modality}, but `{first.name}` is"
                f" {first.representation.modality}",
                "make a dataset of each",
            )
        if not other.classes and not other.normal:
            raise InputError(
                other.name,
                "marks no lesions, and its scans are not known to be free of them",
                "leave it out, or say in a copy of the recipe what they are free of (`normal`)",
            )
        if other.classes and set(other.classes) != set(first.classes):
            raise InputError(
                other.name,
                f"has classes {', '.join(other.classes)}, but `{first.name}` has"
                f" {', '.join(first.classes)}",
                "merge them with --classes: `lesion` makes one class of all",
            )
        # one dataset has one kind of pictures: those of the recipe that gives the classes
        changed: dict[str, object] = {"representation": first.representation}
        if first.representation.crop == "organ" and not other.organs:
            raise InputError(other.name, "names no organ to crop to", "use --crop body or none")
        if other.classes:
            changed["classes"] = {name: other.classes[name] for name in first.classes}
        result.append(other.model_copy(update=changed))
    return result


def _people(gathered: Cases) -> dict[str, str]:
    """Patient → name of the person, which is another's where two sets share people."""
    patient_of = {case.case_id: case.patient_id for case in gathered.cases}
    person = {patient: patient for patient in patient_of.values()}
    owner: dict[str, str] = {}
    for case in gathered.cases:
        name = gathered.recipes[gathered.recipe_of[case.case_id]].name
        if owner.setdefault(case.patient_id, name) != name:
            raise InputError(
                name,
                f"and `{owner[case.patient_id]}` both have a patient `{case.patient_id}`",
                "give each recipe a `case_id` of its own",
            )
    for one, other in combinations(gathered.recipes, 2):
        for here, there in _twins(one, other):
            if here in patient_of and there in patient_of:
                kept, same = person[patient_of[here]], person[patient_of[there]]
                person = {p: kept if known == same else known for p, known in person.items()}
    return person


def _twins(one: Recipe, other: Recipe) -> Iterator[tuple[str, str]]:
    """Pairs of cases (of one, of other) that are one person."""
    for own, theirs, turned in ((one, other, False), (other, one, True)):
        shared: Mapping[str, str] | None = own.shared_patients.get(theirs.name)
        if shared is None:
            continue
        if not shared:
            raise InputError(
                other.name,
                f"and `{one.name}` hold scans of the same people, and nobody knows who is who",
                "leave one out",
            )
        for here, there in shared.items():
            pair = own.case_id.replace(CASE, here), theirs.case_id.replace(CASE, there)
            yield pair[::-1] if turned else pair
