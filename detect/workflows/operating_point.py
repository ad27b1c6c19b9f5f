"""Choose the operating point of a trained model, or of an ensemble, anew, without training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.core.errors import InputError
from converters.core.files import sha256, write_json
from converters.dataset.folder import open_dataset
from converters.dataset.manifest import FILE_NAME as MANIFEST
from detect.detectors.card import OperatingPoint
from detect.detectors.operating_rule import Rule
from detect.evaluation.detect_split import detect_split
from detect.evaluation.findings.score import fit_linking
from detect.evaluation.matching import match
from detect.evaluation.metrics import Metrics, measure
from detect.evaluation.operating_choice import choose_point
from detect.inference.ensembles import EnsembleChoice, write_choice
from detect.inference.model_set import load_models, read_models
from detect.workflows.model_data import common_part


@dataclass(frozen=True)
class OperatingPointResult:
    """The chosen operating point.

    Attributes:
        point: as stored in the model.
        metrics: on val, with the new point.
        note: one line where the wanted value was not reached, else empty.
    """

    point: OperatingPoint
    metrics: Metrics
    note: str


def set_operating_point(
    model: Path | Sequence[Path],
    data: Path,
    rule: Rule,
    *,
    device: str = "auto",
) -> OperatingPointResult:
    """Run a model on val, choose its operating point by a rule, and store it in the model.

    How boxes are linked is fitted anew with it. For several models both are chosen for their fused
    boxes, and kept beside the weights of one of them, where `evaluate` and `predict` find them.

    Args:
        model: bundle of `detect train`, or several; its `model.json` and val metrics change, or one
            gets an `ensembles.json`; no weight does.
        data: dataset folder, as for `evaluate`. Where it is not the one that the model was trained
            on, the model says so.
        rule: by which the confidence is chosen.
        device: `auto`, `cpu`, or a GPU's number.

    Raises:
        InputError: the model or the dataset is wrong, or val gives nothing to choose by.
    """
    used = read_models(model)
    dataset = open_dataset(data)
    val = common_part(used, dataset, "val")
    classes = used.spec.classes
    detections = detect_split(load_models(used, device), val)
    matches = match(val.truth, detections, len(classes))
    point, note = choose_point(matches, val, rule)
    if point is None:
        raise InputError(data, f"has nothing on val to choose `{rule}` by", "use another rule")
    metrics = measure(matches, classes, point.confidence)
    known = sha256(dataset.folder / MANIFEST)
    trained_here = all(card.dataset_sha256 == known for card in used.cards)
    if not trained_here:
        point = point.model_copy(update={"rule": f"{point.rule} of another dataset"})
    linking = fit_linking(val, detections, point.confidence)
    bundle, card = used.bundles[0], used.card
    if len(used.cards) > 1:
        members = [member.spec.model for member in used.cards]
        chosen = EnsembleChoice(members=members, operating_point=point, linking=linking)
        write_choice(bundle, card.weights_sha256, chosen)
        return OperatingPointResult(point, metrics, note)
    if trained_here:
        write_json(bundle / "metrics.json", {"split": "val", **metrics.to_json()})
    card.model_copy(update={"operating_point": point, "linking": linking}).write(bundle)
    return OperatingPointResult(point, metrics, note)
