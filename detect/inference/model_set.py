"""The model, or the ensemble of models, of a prediction or an evaluation."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from converters.core.errors import InputError, ParameterError
from converters.dataset.fingerprint import warnings_for
from converters.imaging.volume import Volume
from detect.detectors.card import ModelCard, ModelSpec, OperatingPoint, Parameters, read_model_card
from detect.detectors.exported import load_predictor
from detect.detectors.protocol import Predictor
from detect.inference.ensembles import read_choice
from detect.inference.fusion import FUSION_IOU, Ensemble
from detect.inference.tta import VIEWS, Augmented
from detect.linking.linking import DEFAULT, Linking

ModelPaths = str | Path | Sequence[str | Path]
"""The folder of one model, or of several that are used as an ensemble."""

FALLBACK_CONFIDENCE = 0.25  # for a model without an operating point
MEAN_RULE = "mean of the members' confidences"
FUSION = f"weighted box fusion from IoU {FUSION_IOU:g} on, equal weights"
LONGEST_NAME = 64  # characters that DICOM has for the name of a model


@dataclass(frozen=True)
class ModelSet:
    """One model or several, with the confidence and the linking that they are used with.

    Attributes:
        bundles, cards: of the members, sorted by the hash of their weights: the order in which
            they are given makes no difference.
        point: operating point of the model; of an ensemble the one chosen for it as a whole, else
            the mean of the members' confidences. None where no member has one.
        confidence: boxes with this score or more are reported.
        rule: how the confidence was chosen.
        linking: chosen with the point, else that of all members, else the default.
        runtime: that runs the networks.
        augment: run test-time augmentation, see `Augmented`.
    """

    bundles: list[Path]
    cards: list[ModelCard]
    point: OperatingPoint | None
    confidence: float
    rule: str
    linking: Linking
    runtime: str
    augment: bool = False

    @property
    def spec(self) -> ModelSpec:
        """Spec of the first member; its classes and representation are those of all members."""
        return self.cards[0].spec

    @cached_property
    def card(self) -> ModelCard:
        """Card of the model; that of an ensemble names all members and hashes all weights."""
        first = self.cards[0]
        if len(self.cards) == 1:
            return first
        names = " + ".join(sorted(card.spec.model for card in self.cards))
        if len(names) > LONGEST_NAME:
            names = f"ensemble of {len(self.cards)}"
        counts = [card.parameters for card in self.cards]
        of_one_dataset = all(card.dataset_sha256 == first.dataset_sha256 for card in self.cards)
        return first.model_copy(
            update={
                "spec": first.spec.model_copy(update={"family": "ensemble", "model": names}),
                "parameters": Parameters(
                    unfused=sum(count.unfused for count in counts),
                    fused=sum(count.fused for count in counts),
                ),
                "weights_sha256": joint_hash(self.cards),
                "operating_point": self.point,
                "linking": self.linking,
                "started_from": "trained models",
                "training": {},
                "dataset_sha256": first.dataset_sha256 if of_one_dataset else "",
            }
        )

    @property
    def folder_name(self) -> str:
        """Folder name for the outputs of an ensemble, another one for other weights."""
        names = "+".join(sorted(bundle.resolve().name for bundle in self.bundles))
        if len(names) > LONGEST_NAME:
            names = f"ensemble-of-{len(self.bundles)}"
        return f"{names}-{self.card.weights_sha256[:8]}"

    def warnings(self, volume: Volume) -> list[str]:
        """List how a scan differs from those that the members were trained on, each line once."""
        of_members = (
            warnings_for(volume, card.trained_on, card.spec.representation) for card in self.cards
        )
        return list(dict.fromkeys(line for lines in of_members for line in lines))

    @property
    def unchecked(self) -> str:
        """One line if a member does not say what it was trained on, else empty."""
        silent = any(card.trained_on is None for card in self.cards)
        unknown = sorted({u for c in self.cards if c.trained_on for u in c.trained_on.unknown})
        if silent:
            return "the model does not say what it was trained on, so no scan is checked against it"
        if unknown:
            return f"the model does not say its training scans' {' and '.join(unknown)}"
        return ""

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Models, confidence, linking and runtime, as in `detections.json`."""
        facts: dict[str, Any] = {
            "model": self.card.spec.model,
            "weights_sha256": self.card.weights_sha256,
            "confidence": self.confidence,
            "confidence_rule": self.rule,
            "linking": self.linking.model_dump(mode="json"),
            "runtime": self.runtime,
            "trained_on": _scope(self.cards[0]),
        }
        if self.augment:
            facts["augment"] = VIEWS
        if len(self.cards) > 1:
            facts["fusion"] = FUSION
            facts["members"] = [
                {
                    "model": card.spec.model,
                    "weights_sha256": card.weights_sha256,
                    "confidence": _confidence(card),
                    "trained_on": _scope(card),
                }
                for card in self.cards
            ]
        return facts


def model_paths(models: ModelPaths) -> list[Path]:
    """Return the folders of one model or several."""
    return [Path(path) for path in ([models] if isinstance(models, str | Path) else models)]


def read_models_for_scans(
    models: ModelPaths,
    confidence: float | None,
    runtime: str = "torch",
    augment: bool = False,
) -> ModelSet:
    """Read one or more bundles for the prediction on new scans; see `read_models`.

    Raises:
        InputError: as there, the confidence is no score, or a bundle sees only crops to an organ.
    """
    if confidence is not None and not 0 <= confidence <= 1:
        raise ParameterError(
            "confidence", f"{confidence} is not a score", "use a number from 0 to 1"
        )
    used = read_models(models, confidence, runtime, augment)
    for bundle, card in zip(used.bundles, used.cards, strict=True):
        if card.spec.representation.crop == "organ":
            raise InputError(
                bundle,
                "was trained on crops to the organ, which a scan without a mask cannot give",
                "train on a dataset of --crop body, which is found from the scan alone",
            )
    return used


def read_models(
    models: ModelPaths,
    confidence: float | None = None,
    runtime: str = "torch",
    augment: bool = False,
) -> ModelSet:
    """Read the cards of one or more bundles and settle confidence and linking.

    Raises:
        InputError: a bundle is wrong, or does not fit the others.
    """
    read = [(bundle, read_model_card(bundle)) for bundle in model_paths(models)]
    first, first_card = read[0]
    seen: set[str] = set()
    for bundle, card in read:
        _check_fits(bundle, card.spec, first, first_card.spec)
        if card.weights_sha256 in seen:
            raise InputError(bundle, "is given twice, or is a copy", "give each model once")
        seen.add(card.weights_sha256)
    read.sort(key=lambda pair: pair[1].weights_sha256)
    bundles = [bundle for bundle, _ in read]
    cards = [card for _, card in read]
    point, linking = _settle(bundles[0], cards)
    rule = "as given"
    if confidence is None:
        confidence = point.confidence if point else FALLBACK_CONFIDENCE
        rule = point.rule if point else "none was chosen on val"
    return ModelSet(bundles, cards, point, confidence, rule, linking, runtime, augment)


def _settle(first: Path, cards: Sequence[ModelCard]) -> tuple[OperatingPoint | None, Linking]:
    """Return operating point and linking of a model, or of an ensemble (from its first member)."""
    if len(cards) == 1:
        return cards[0].operating_point, cards[0].linking
    if chosen := read_choice(first, joint_hash(cards)):
        return chosen.operating_point, chosen.linking
    agreed = all(card.linking == cards[0].linking for card in cards)
    linking = cards[0].linking if agreed else DEFAULT
    if not any(card.operating_point for card in cards):
        return None, linking
    mean = sum(map(_confidence, cards)) / len(cards)
    return OperatingPoint(confidence=mean, rule=MEAN_RULE), linking


def joint_hash(cards: Sequence[ModelCard]) -> str:
    """Compute the SHA-256 over the weight hashes of all members, in their order."""
    return hashlib.sha256("".join(card.weights_sha256 for card in cards).encode()).hexdigest()


def load_models(used: ModelSet, device: str, threads: int | None = None) -> Predictor:
    """Load the detector, or the ensemble; see `load_predictor`."""
    detectors: list[Predictor] = [
        load_predictor(bundle, device, used.runtime, threads) for bundle in used.bundles
    ]
    if used.augment:
        detectors = [Augmented(detector) for detector in detectors]
    return detectors[0] if len(detectors) == 1 else Ensemble(detectors)


def _scope(card: ModelCard) -> dict[str, Any] | None:
    return card.trained_on.model_dump(mode="json") if card.trained_on else None


def _confidence(card: ModelCard) -> float:
    return card.operating_point.confidence if card.operating_point else FALLBACK_CONFIDENCE


def _check_fits(bundle: Path, spec: ModelSpec, first: Path, other: ModelSpec) -> None:
    theirs = other.representation
    fields = [(name, value, getattr(theirs, name)) for name, value in spec.representation]
    for field, value, expected in (("classes", spec.classes, other.classes), *fields):
        if value != expected:
            raise InputError(
                bundle,
                f"has {field} {value}, but {first.name} has {expected}",
                "an ensemble takes models of the same classes and pictures",
            )
