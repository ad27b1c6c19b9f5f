"""The model, or ensemble of models, that a prediction uses."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from converters.errors import InputError
from detect.detectors.protocol import Predictor
from detect.exports import load_predictor
from detect.inference.fusion import FUSION_IOU, Ensemble
from detect.inference.linking import DEFAULT, Linking
from detect.model_card import ModelCard, ModelSpec, read_model_card

FALLBACK_CONFIDENCE = 0.25  # for a model without an operating point of its own
LONGEST_NAME = 64  # characters that DICOM has for the name of a model


@dataclass(frozen=True)
class UsedModels:
    """What finds the boxes, from which confidence on, and how they become lesions.

    Attributes:
        bundles, cards: of the members, by the hash of their weights: the order in which they are
            given makes no difference.
        confidence: boxes from here on are reported.
        rule: where the confidence comes from.
        linking: the members', or the default where they do not agree.
        runtime: that runs the networks.
    """

    bundles: list[Path]
    cards: list[ModelCard]
    confidence: float
    rule: str
    linking: Linking
    runtime: str

    @property
    def spec(self) -> ModelSpec:
        """Of the first member; classes and representation are those of all."""
        return self.cards[0].spec

    @cached_property
    def card(self) -> ModelCard:
        """The member's card; that of an ensemble names all members and has a hash of its own."""
        first = self.cards[0]
        if len(self.cards) == 1:
            return first
        names = " + ".join(sorted(card.spec.model for card in self.cards))
        if len(names) > LONGEST_NAME:
            names = f"ensemble of {len(self.cards)}"
        joint = "".join(card.weights_sha256 for card in self.cards)
        return first.model_copy(
            update={
                "spec": first.spec.model_copy(update={"model": names}),
                "weights_sha256": hashlib.sha256(joint.encode()).hexdigest(),
            }
        )

    @cached_property
    def facts(self) -> dict[str, Any]:
        """For `detections.json`."""
        facts: dict[str, Any] = {
            "model": self.card.spec.model,
            "weights_sha256": self.card.weights_sha256,
            "confidence": self.confidence,
            "confidence_rule": self.rule,
            "linking": self.linking.model_dump(mode="json"),
            "runtime": self.runtime,
        }
        if len(self.cards) > 1:
            facts["fusion"] = f"weighted box fusion from IoU {FUSION_IOU:g} on, equal weights"
            facts["members"] = [
                {
                    "model": card.spec.model,
                    "weights_sha256": card.weights_sha256,
                    "confidence": _own(card),
                }
                for card in self.cards
            ]
        return facts


def choose_models(
    models: Sequence[Path], confidence: float | None, runtime: str = "torch"
) -> UsedModels:
    """Read the cards of one or more bundles and settle confidence and linking.

    Raises:
        InputError: a bundle is wrong, sees only crops to an organ, or does not fit the others.
    """
    read = [(bundle, read_model_card(bundle)) for bundle in models]
    first, first_card = read[0]
    seen: set[str] = set()
    for bundle, card in read:
        if card.spec.crop == "organ":
            raise InputError(
                bundle,
                "was trained on crops to the organ, which a scan without a mask cannot give",
                "train on a dataset of --crop body, which is found from the scan alone",
            )
        _check_fits(bundle, card.spec, first, first_card.spec)
        if card.weights_sha256 in seen:
            raise InputError(bundle, "is given twice, or is a copy", "give each model once")
        seen.add(card.weights_sha256)
    read.sort(key=lambda pair: pair[1].weights_sha256)
    cards = [card for _, card in read]
    rule = "as given"
    if confidence is None:
        confidence = sum(map(_own, cards)) / len(cards)
        point = first_card.operating_point
        rule = point.rule if point else "none was chosen on val"
        if len(cards) > 1:
            rule = "mean of the members' confidences"
    agreed = all(card.linking == first_card.linking for card in cards)
    linking = first_card.linking if agreed else DEFAULT
    bundles = [bundle for bundle, _ in read]
    return UsedModels(bundles, cards, confidence, rule, linking, runtime)


def load_models(used: UsedModels, device: str) -> Predictor:
    """Load the detector, or the ensemble."""
    detectors = [load_predictor(bundle, device, used.runtime) for bundle in used.bundles]
    return detectors[0] if len(detectors) == 1 else Ensemble(detectors)


def _own(card: ModelCard) -> float:
    return card.operating_point.confidence if card.operating_point else FALLBACK_CONFIDENCE


def _check_fits(bundle: Path, spec: ModelSpec, first: Path, other: ModelSpec) -> None:
    fields = [(name, value, getattr(other, name)) for name, value in spec.representation]
    for what, own, theirs in (("classes", spec.classes, other.classes), *fields):
        if own != theirs:
            raise InputError(
                bundle,
                f"has {what} {own}, but {first.name} has {theirs}",
                "an ensemble takes models of the same classes and pictures",
            )
