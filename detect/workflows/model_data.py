"""Read the split that a model is scored on, and refuse a dataset that does not suit it."""

from pathlib import Path

from converters.core.errors import InputError, ParameterError
from converters.core.files import sha256
from converters.dataset.folder import Dataset
from converters.dataset.folds import fold_splits
from converters.dataset.manifest import FILE_NAME as MANIFEST
from converters.dataset.split import Split, check_sides, load_split
from converters.dataset.stratify import SPLITS
from detect.detectors.card import ModelCard, ModelSpec
from detect.inference.model_set import ModelSet


def common_part(used: ModelSet, dataset: Dataset, split: str) -> Split:
    """Read a split that suits all of the models; see `part_of`.

    Raises:
        InputError: a model does not suit the dataset, its patients are on two sides, or members of
            an ensemble were trained on other parts of it: what one is tested on, another may know.
    """
    first = used.cards[0]
    for bundle, card in zip(used.bundles, used.cards, strict=True):
        check_suits(card.spec, dataset, bundle)
        if card.fold != first.fold:
            folds = (f"fold {other.fold}" if other.fold else "no fold" for other in (card, first))
            raise InputError(
                bundle,
                f"was trained on {next(folds)}, but {used.bundles[0].name} on {next(folds)}, so one"
                " may know the patients that the other is scored on",
                "take models of the same fold",
            )
        if card.fold:
            _check_own_dataset(card, dataset, bundle)
    check_sides(dataset)
    return part_of(first, dataset, split, used.bundles[0])


def part_of(card: ModelCard, dataset: Dataset, split: str, model: Path) -> Split:
    """Read a split of a dataset, of a model's own fold where it was trained on one.

    Raises:
        InputError: no such split, or a dataset whose patients the model may have been trained on.
    """
    if card.fold is None:
        return load_split(dataset, split)
    _check_own_dataset(card, dataset, model)
    if split not in SPLITS:
        raise ParameterError("split", f"`{split}` is no split", f"use {', '.join(SPLITS)}")
    return fold_splits(dataset, card.fold)[split]


def _check_own_dataset(card: ModelCard, dataset: Dataset, model: Path) -> None:
    if sha256(dataset.folder / MANIFEST) != card.dataset_sha256:
        raise InputError(
            dataset.folder,
            f"is not the dataset that {model.name} was trained on a fold of, so it may hold"
            " patients that it was trained on",
            "score it on its own dataset, or train without folds",
        )


def check_suits(spec: ModelSpec, dataset: Dataset, model: Path) -> None:
    """Refuse a dataset that a model cannot be scored on.

    Raises:
        InputError: other classes, or pictures that were made in another way.
    """
    recipe = dataset.manifest.request.recipe
    representation = [
        (name, value, getattr(recipe.representation, name)) for name, value in spec.representation
    ]
    for what, wanted, theirs in (("classes", spec.classes, recipe.class_names), *representation):
        if wanted != theirs:
            raise InputError(
                dataset.folder,
                f"has {what} {theirs}, but the model {model.name} was trained with {wanted}",
                "convert the scans with the model's recipe, or train on this dataset",
            )
