"""Read detections from elsewhere, in whichever of the known forms they are."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from converters.core.boxes import Boxes
from converters.core.errors import InputError, ParameterError
from converters.dataset.folder import Dataset
from converters.dataset.split import Split
from converters.imaging.read import find_scans, is_scan
from detect.external.coco import read_coco
from detect.external.segmentations import (
    Score,
    parse_labels,
    probabilities_beside,
    read_segmentations,
)
from detect.external.yolo import read_yolo_labels


@dataclass(frozen=True)
class Predictions:
    """Detections from elsewhere.

    Attributes:
        form: for people: `COCO results`, `YOLO labels` or `segmentations`.
        score: how boxes of segmentations are scored; None for the others, which bring scores.
        detections: boxes of each picture.
        notes: what a reader of the numbers has to know, a line each.
    """

    form: str
    score: Score | None
    detections: list[Boxes]
    notes: tuple[str, ...] = ()


def read_predictions(
    path: Path,
    dataset: Dataset,
    split: Split,
    labels: str | None = None,
    score: str | None = None,
) -> Predictions:
    """Read a COCO results file, a folder of YOLO labels, or one with a label volume a case.

    Args:
        path: the file or folder.
        dataset, split: that the detections are of.
        labels: what labels of volumes mean, see `parse_labels`; None: as in the dataset's masks.
        score: of the boxes of segmentations, see `read_segmentations`; None: `mean` where
            probabilities lie beside the volumes, else `constant`.

    Raises:
        InputError: none of these, or not of this dataset.
    """
    if score is not None and score not in get_args(Score):
        raise ParameterError("score", f"`{score}` is no score", f"use {', '.join(get_args(Score))}")
    classes = dataset.manifest.class_names
    if not path.exists():
        raise InputError(path, "does not exist", "check the spelling of the path")
    volumes = [path] if path.is_file() and is_scan(path) else []
    if path.is_dir():
        volumes = find_scans(path)
    if volumes:
        root = path if path.is_dir() else path.parent
        return _segmentations(volumes, root, dataset, split, labels, score)
    for parameter, value in (("labels", labels), ("score", score)):
        if value is not None:
            raise ParameterError(
                parameter, "is for label volumes, and there are none", "leave it out"
            )
    if path.is_file():
        return Predictions("COCO results", None, read_coco(path, split, len(classes)))
    if not any(path.glob("*.txt")):
        raise InputError(
            path,
            "holds neither label volumes nor YOLO label files",
            "give one with a volume for each case or a text file for each picture",
        )
    return Predictions("YOLO labels", None, read_yolo_labels(path, split, len(classes)))


def _segmentations(
    volumes: list[Path],
    root: Path,
    dataset: Dataset,
    split: Split,
    labels: str | None,
    score: str | None,
) -> Predictions:
    names = dataset.manifest.class_names
    meaning = None if labels is None else parse_labels(labels, names)
    with_maps = any(probabilities_beside(file).is_file() for file in volumes)
    chosen: Score = "mean" if with_maps else "constant"
    if score in ("mean", "max") and not with_maps:
        raise ParameterError(
            "score",
            f"`{score}` needs nnU-Net's .npz beside the volumes",
            "use volume or constant",
        )
    for known in get_args(Score):
        chosen = known if score == known else chosen
    detections, present = read_segmentations(volumes, root, dataset, split, meaning, chosen)
    notes = []
    if meaning is not None and not present & set(meaning):
        listed = ", ".join(map(str, sorted(present))) or "none"
        notes.append(f"No volume holds a label that --labels names; labels there: {listed}.")
    if chosen == "constant":
        notes.append(
            "Every box has the score 1: AP is that of a single operating point, and depends on the"
            " order of the images; read P, R and F1, or use --score volume."
        )
    if chosen == "volume":
        notes.append("Scores are V / (V + 1 ml) of the 3D lesion: AP is that of its volume.")
    return Predictions("segmentations", chosen, detections, tuple(notes))
