"""Model names and the family behind each; a new family is one new file and one line here."""

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from converters.errors import InputError
from detect.detectors.protocol import Detector
from detect.model_card import ModelSpec, Parameters, read_model_card

# family → (module with a `FAMILY` class, its names)
_YOLO = [f"{line}{scale}" for line in ("yolov8", "yolo11") for scale in "nsmlx"]
_RFDETR = ("nano", "small", "medium", "large")
FAMILIES: dict[str, tuple[str, list[str]]] = {
    "ultralytics": ("detect.detectors.ultralytics.detector", [*_YOLO, "rtdetr-l", "rtdetr-x"]),
    "deim": ("detect.detectors.deim.detector", [f"deim-{size}" for size in "nsmlx"]),
    "rfdetr": ("detect.detectors.rfdetr.detector", [f"rfdetr-{size}" for size in _RFDETR]),
}


def model_names() -> dict[str, str]:
    """Every model name → its family."""
    return {name: family for family, (_, names) in FAMILIES.items() for name in names}


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
    raise InputError("--model", f"`{model}` is no model that detect knows", hint)


def _family(name: str) -> type[Detector]:
    module, _ = FAMILIES[name]
    family: type[Detector] = import_module(module).FAMILY
    return family


def count_parameters(model: str, classes: int) -> Parameters:
    """Count a model's parameters on the built network."""
    return _family(family_of(model)).count_parameters(model, classes)


def create_detector(spec: ModelSpec, device: str) -> Detector:
    """Build a detector with fresh weights."""
    return _family(spec.family).create(spec, device)


def load_detector(bundle: Path, device: str) -> Detector:
    """Load a trained detector from its bundle.

    Raises:
        InputError: no bundle, or one that does not fit.
    """
    card = read_model_card(bundle)
    if model_names().get(card.spec.model) != card.spec.family:
        raise InputError(
            bundle,
            f"is a {card.spec.family} model `{card.spec.model}`, unknown to this version",
            "update detect",
        )
    return _family(card.spec.family).load(card.spec, bundle / card.weights, device)
