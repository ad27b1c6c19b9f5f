"""Register the families and their model names; a new family is one folder and one line here."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from converters.core.errors import InputError, ParameterError
from detect.detectors.card import ModelCard, ModelSpec, Parameters, read_model_card
from detect.detectors.predictor import Steps

if TYPE_CHECKING:  # which exports run without: it imports torch
    from detect.detectors.base import Detector

# Every line of models that ultralytics ships a definition of, and its sizes. Left out are those
# that give no plain boxes (-cls, -seg, -sem, -pose, -obb, -depth), those that want texts beside
# pictures (-world, yoloe), and -p6: made for inputs of 1280 px, it takes multiples of 64 only.
_LINES = {
    "yolov3{}": ["-tiny", "", "-spp"],
    "yolov5{}": "nsmlx",
    "yolov6{}": "nsmlx",
    "yolov8{}": "nsmlx",
    "yolov8{}-p2": "nsmlx",  # with a head for the smallest lesions
    "yolov8{}-ghost": "nsmlx",
    "yolov8{}-ghost-p2": "nsmlx",
    "yolov8{}-rtdetr": "nsmlx",
    "yolov9{}": "tsmce",
    "yolov10{}": "nsmblx",
    "yolo11{}": "nsmlx",
    "yolo12{}": "nsmlx",
    "yolo26{}": "nsmlx",
    "yolo26{}-p2": "nsmlx",
    "rtdetr-{}": ["l", "x", "resnet50", "resnet101"],
}
_YOLO = [line.format(size) for line, sizes in _LINES.items() for size in sizes]
_DEIM = [f"deim-{size}" for size in "nsmlx"]
_RFDETR = [f"rfdetr-{size}" for size in ("nano", "small", "medium", "large")]


class Family(NamedTuple):
    """A family as it is known before anything of it is imported.

    Attributes:
        module: name of the module that binds its detector class to `FAMILY`.
        names: of its models.
        licence: of the code that its models run through, SPDX.
        steps: name of the module that binds `STEPS`, which exports run without torch.
    """

    module: str
    names: list[str]
    licence: str
    steps: str = "detect.detectors.detr"


FAMILIES = {
    "ultralytics": Family(
        "detect.families.ultralytics.detector",
        _YOLO,
        "AGPL-3.0",
        "detect.families.ultralytics.steps",
    ),
    "deim": Family("detect.families.deim.detector", _DEIM, "Apache-2.0"),
    "rfdetr": Family("detect.families.rfdetr.detector", _RFDETR, "Apache-2.0"),
}


class ListedModel(NamedTuple):
    """A model as `list_models` lists it.

    Attributes:
        name: that `train` takes.
        family: of detectors that it belongs to.
        licence: of the code that it runs through, SPDX.
    """

    name: str
    family: str
    licence: str


def list_models() -> list[ListedModel]:
    """List every model that can be trained; nothing of them is imported or built."""
    return [
        ListedModel(name, key, family.licence)
        for key, family in FAMILIES.items()
        for name in family.names
    ]


def model_names() -> dict[str, str]:
    """Map every model name to its family."""
    return {name: key for key, family in FAMILIES.items() for name in family.names}


def family_of(model: str) -> str:
    """Return the family of a model name.

    Raises:
        InputError: unknown; the nearest known names are given.
    """
    known = model_names()
    if model in known:
        return known[model]
    near = get_close_matches(model, known, n=3)
    hint = f"did you mean {' or '.join(near)}" if near else "see `detect models`"
    raise ParameterError("model", f"`{model}` is no model that detect knows", hint)


def _family(name: str) -> type[Detector]:
    family: type[Detector] = import_module(FAMILIES[name].module).FAMILY
    return family


def count_parameters(model: str, classes: int) -> Parameters:
    """Count a model's parameters on the built network."""
    return _family(family_of(model)).count_parameters(model, classes)


def create_detector(spec: ModelSpec, device: str) -> Detector:
    """Build a detector with fresh weights."""
    return _family(spec.family).create(spec, device)


def steps_of(spec: ModelSpec) -> Steps:
    """Return the steps of a model's family around its network."""
    kind: type[Steps] = import_module(FAMILIES[spec.family].steps).STEPS
    return kind(spec)


def load_detector(bundle: Path, device: str) -> Detector:
    """Load a trained detector from its bundle.

    Raises:
        InputError: no bundle, or one that does not fit.
    """
    card = read_known_card(bundle)
    return _family(card.spec.family).load(card.spec, bundle / card.weights, device)


def read_known_card(bundle: Path) -> ModelCard:
    """Read a bundle's card; see `read_model_card`.

    Raises:
        InputError: no bundle, or of a model that this version does not have.
    """
    card = read_model_card(bundle)
    if model_names().get(card.spec.model) != card.spec.family:
        raise InputError(
            bundle,
            f"is a {card.spec.family} model `{card.spec.model}`, unknown to this version",
            "update detect",
        )
    return card
