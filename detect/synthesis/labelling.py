"""Write the recipe by which the masks of synthetic scans are read."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from converters.core.errors import InputError, ParameterError, nearest
from converters.recipes.classes import merge_classes
from converters.recipes.recipe import Recipe, load_recipe
from converters.recipes.templates import CASE
from datasets_yaml import recipe_files
from detect.synthesis.kinds import KINDS

ORGAN_LABEL = 1
KIND_LABELS = {name: kind.label + ORGAN_LABEL for name, kind in KINDS.items()}
"""As the `limt` recipe has them."""


def choose_organ(recipe: Recipe, name: str | None) -> str:
    """Choose the organ that lesions grow in: the one named, the only one, or the liver.

    Raises:
        InputError: there is no such organ.
    """
    organs = list(recipe.organs)
    if name is None and len(organs) == 1:
        return organs[0]
    wanted = name or "liver"
    if wanted not in organs:
        problem = f"names no organ `{wanted}`, and lesions grow in organs"
        remedy = nearest(wanted, organs) if organs else "use a dataset with masks of the organ"
        if name is None:
            raise InputError(recipe.name, problem, remedy)
        raise ParameterError("organ", problem, remedy)
    return wanted


def with_organ(recipe: Recipe, organ: str) -> Recipe:
    """Return the recipe with that organ alone; its other organs are ignored."""
    others = [n for name, labels in recipe.organs.items() if name != organ for n in labels]
    return Recipe.model_validate(
        recipe.model_dump()
        | {
            "organs": {organ: recipe.organs[organ]},
            "ignore": [*recipe.ignore, *others],
            "within": {name: inside for name, inside in recipe.within.items() if name == organ},
        }
    )


def real_labels(recipe: Recipe) -> dict[str, int]:
    """Map each class of the source to its label in the masks: a kind's where the names agree."""
    others = [name for name in recipe.classes if name not in KIND_LABELS]
    numbers = {name: max(KIND_LABELS.values()) + 1 + i for i, name in enumerate(others)}
    return {name: (KIND_LABELS | numbers)[name] for name in recipe.classes}


def output_recipe(
    source: Recipe, organ: str, kinds: Sequence[str], with_real: bool, classes: str | None
) -> Recipe:
    """Make the recipe that reads the synthetic scans; who is who is added by `with_patients`.

    Args:
        source: of the scans.
        organ: that lesions grow in.
        kinds: that grow.
        with_real: the scans still show lesions of the source, labelled as `real_labels` says.
        classes: merging of all of these classes, see `merge_classes`.

    Raises:
        InputError: real and synthetic lesions would contradict each other.
    """
    real = real_labels(source) if with_real else {}
    codes = load_recipe(recipe_files()["limt"]).codes | source.codes
    named = {name: n for name, n in KIND_LABELS.items() if name in kinds or name in real} | real
    output = Recipe.model_validate(
        {
            "representation": source.representation,
            "name": f"{source.name}-synthetic",
            "title": f"lesions grown by detect synthesize into scans of {source.name}",
            "image": f"images/{CASE}.nii.gz",
            "mask": f"masks/{CASE}.nii.gz",
            "classes": {name: [number] for name, number in named.items()},
            "organs": {organ: [ORGAN_LABEL]},
            "within": {organ: list(named)},
            "merges": {
                name: groups
                for name, groups in source.merges.items()
                if {old for group in groups.values() for old in group} <= set(named)
            },
            "codes": {name: code for name, code in codes.items() if name in named},
            "licence": source.licence,
            "citation": source.citation,
        }
    )
    merged = merge_classes(output, classes) if classes else output
    _check(source, merged, real, {KIND_LABELS[name] for name in kinds})
    return merged


def _check(source: Recipe, output: Recipe, real: Mapping[str, int], grown: set[int]) -> None:
    remedy = "use --classes lesion for one class of all, or --only-normal cases or slices"
    for name, number in real.items():
        if number in output.ignore:
            raise ParameterError(
                "classes", f"leaves out `{name}`: real lesions would count as normal", remedy
            )
    for labels in output.classes.values():
        alone = [n for n in real if real[n] in labels and n not in KIND_LABELS]
        if alone and not grown.intersection(int(n) for n in labels):
            raise InputError(
                source.name,
                f"has lesions of class `{alone[0]}`, which may be of any of the kinds that grow, so"
                " that the two would contradict each other",
                remedy,
            )


def with_patients(
    output: Recipe, source: Recipe, scans: Mapping[str, str], patient_of: Mapping[str, str]
) -> Recipe:
    """Add the patients to the recipe, so that nobody is on two sides of a split.

    Args:
        output: see `output_recipe`.
        source: of the scans.
        scans: synthetic scan → case of the source.
        patient_of: case of the source → patient.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    captured: dict[str, list[str]] = defaultdict(list)  # what the source's recipe captures → scans
    pattern = re.escape(source.case_id).replace(re.escape(CASE), "(.+)")
    for scan, case in scans.items():
        groups[patient_of[case]].append(scan)
        if m := re.fullmatch(pattern, case):
            captured[m[1]].append(scan)
    shared = {source.name: {scan: case for case, names in captured.items() for scan in names}}
    for name, known in _shared(source).items():
        same = {scan: theirs for ours, theirs in known.items() for scan in captured.get(ours, [])}
        if same or not known:
            shared[name] = same
    return output.model_copy(
        update={
            "patients": [group for group in groups.values() if len(group) > 1],
            # empty says that nobody knows who is who: such sets are refused together
            "shared_patients": shared,
            "synthetic": True,
        }
    )


def _shared(source: Recipe) -> dict[str, dict[str, str]]:
    """Map each recipe to its cases by those of the source; an empty map: not known who is who."""
    shared = {name: dict(known) for name, known in source.shared_patients.items()}
    for path in recipe_files().values():
        other = load_recipe(path)
        known = other.shared_patients.get(source.name)
        if known is not None:
            shared.setdefault(other.name, {ours: theirs for theirs, ours in known.items()})
    return shared


def recipe_text(recipe: Recipe) -> str:
    """Return the recipe as YAML that `load_recipe` reads."""
    content: dict[str, Any] = recipe.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
