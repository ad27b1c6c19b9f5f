"""Choose a trained model's operating point anew, without training."""

from dataclasses import dataclass
from pathlib import Path

from converters.atomic import write_json
from converters.dataset import open_dataset
from converters.errors import InputError
from converters.manifest import FILE_NAME as MANIFEST
from detect.detectors.registry import load_detector
from detect.evaluate import check_suits, part_of
from detect.evaluation.metrics import Metrics
from detect.evaluation.operating_choice import parse_rule
from detect.linked_level import fit_linking
from detect.model_card import OperatingPoint, read_model_card, sha256
from detect.scoring import choose_point, detect_split, score


@dataclass(frozen=True)
class OperatingPointResult:
    """What was chosen.

    Attributes:
        point: as stored in the model.
        metrics: on val, with the new point.
        note: one line where the wanted value was not reached, else empty.
    """

    point: OperatingPoint
    metrics: Metrics
    note: str


def set_operating_point(
    model: Path, data: Path, rule: str, *, device: str = "auto", quiet: bool = False
) -> OperatingPointResult:
    """Run a model on val, choose its operating point by a rule, and store it in the model.

    How boxes are linked is fitted anew with it.

    Args:
        model: bundle of `detect train`; its `model.json` and val metrics change, no weight does.
        data: dataset folder, as for `evaluate`. Where it is not the one that the model was trained
            on, the model says so.
        rule: see `parse_rule`.
        device: `auto`, `cpu`, or a GPU's number.
        quiet: no progress bar.

    Raises:
        InputError: the rule, the model or the dataset is wrong, or val gives nothing to choose by.
    """
    wanted = parse_rule(rule)
    card = read_model_card(model)
    dataset = open_dataset(data)
    check_suits(card.spec, dataset, model)
    val = part_of(card, dataset, "val", model)
    classes = card.spec.classes
    detections = detect_split(load_detector(model, device), val, quiet)
    point, note = choose_point(classes, val, detections, wanted)
    if point is None:
        raise InputError(data, f"has nothing on val to choose `{wanted}` by", "use another rule")
    metrics = score(classes, val, detections, point)
    if sha256(dataset.folder / MANIFEST) == card.dataset_sha256:
        write_json(model / "metrics.json", {"split": "val", **metrics.to_json()})
    else:
        point = point.model_copy(update={"rule": f"{point.rule} of another dataset"})
    linking = fit_linking(val, detections, point.confidence)
    card.model_copy(update={"operating_point": point, "linking": linking}).write(model)
    return OperatingPointResult(point, metrics, note)
