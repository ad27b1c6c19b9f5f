"""Score detections from elsewhere on a split of a dataset, as a model's are."""

from dataclasses import dataclass
from pathlib import Path

from converters.core.errors import ParameterError
from converters.dataset.folder import Dataset, open_dataset
from converters.dataset.split import check_sides, load_split
from detect.detectors.card import OperatingPoint
from detect.detectors.operating_rule import Rule
from detect.evaluation.detected import Detected
from detect.evaluation.matching import match
from detect.evaluation.operating_choice import choose_point
from detect.external.predictions import Predictions, read_predictions
from detect.workflows.write_evaluation import EvaluateResult, check_out, write_evaluation


@dataclass(frozen=True)
class ExternalPredictions:
    """Detections of another tool on a split, and how to read and threshold them.

    The frozen operating point is `confidence`; or is chosen on `val_predictions`; or, for
    segmentations without either, takes in all that was segmented. Otherwise there is none.

    Attributes:
        path: COCO results, a folder of YOLO labels, or one with a label volume a case.
        name: of the tool; empty: the name of the file or folder.
        labels, score: see `read_predictions`.
        confidence: boxes from here on count, chosen on other data.
        val_predictions: of the same tool on val, in the same form.
        operating_point: rule by which the confidence is chosen on them; None: best F1.
    """

    path: Path
    name: str | None = None
    labels: str | None = None
    score: str | None = None
    confidence: float | None = None
    val_predictions: Path | None = None
    operating_point: Rule | None = None

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            InputError: a confidence outside [0, 1] or beside a way to choose one, or a rule
                without predictions for val.
        """
        if self.confidence is not None:
            if not 0 <= self.confidence <= 1:
                raise ParameterError("confidence", f"{self.confidence} is no score", "use 0 to 1")
            if self.val_predictions is not None or self.operating_point is not None:
                raise ParameterError(
                    "confidence", "is given, and so is how to choose one", "give one"
                )
        if self.operating_point is not None and self.val_predictions is None:
            raise ParameterError(
                "operating_point",
                "is chosen on val",
                "give the predictions for val, --val-predictions",
            )

    def choose_point(
        self, predictions: Predictions, dataset: Dataset
    ) -> tuple[OperatingPoint | None, str]:
        """Settle the operating point of the predictions of a split.

        Returns:
            the point, None if there is none; and a note where a rule could not be kept to.
        """
        if self.confidence is not None:
            return OperatingPoint(confidence=self.confidence, rule="as given"), ""
        if self.val_predictions is not None:
            val = load_split(dataset, "val")
            on_val = read_predictions(self.val_predictions, dataset, val, self.labels, self.score)
            matches = match(val.truth, on_val.detections, len(dataset.manifest.class_names))
            return choose_point(matches, val, self.operating_point or Rule("f1"))
        if predictions.score is not None:
            return OperatingPoint(confidence=0, rule="all that was segmented"), ""
        return None, ""


def evaluate_predictions(
    predictions: Path | ExternalPredictions,
    data: Path,
    *,
    split: str = "test",
    out: Path | None = None,
    pictures: int = 12,
    overwrite: bool = False,
) -> EvaluateResult:
    """Score detections from elsewhere.

    Args:
        predictions: their file or folder, or that and how to read them.
        data: dataset folder.
        split: train, val or test, which the predictions are of.
        out: folder to make; `runs/NAME/evaluation-SPLIT` if not given.
        pictures: how many slices with lesions to draw, spread over the cases.
        overwrite: replace what lies at `out`.

    Raises:
        InputError: the predictions are not of this dataset, or cannot be read.
    """
    if isinstance(predictions, Path):
        predictions = ExternalPredictions(predictions)
    predictions.check()
    name = predictions.name or predictions.path.resolve().name.split(".")[0]
    out = out or Path("runs") / name / f"evaluation-{split}"
    check_out(out, overwrite)
    dataset = open_dataset(data)
    check_sides(dataset)
    part = load_split(dataset, split)
    content = read_predictions(
        predictions.path, dataset, part, predictions.labels, predictions.score
    )
    point, note = predictions.choose_point(content, dataset)
    detected = Detected(
        name=name,
        split=part,
        boxes=content.detections,
        classes=dataset.manifest.class_names,
        window=dataset.manifest.request.recipe.representation.shown_window,
        facts={
            "fold": None,
            "predictions": {"name": name, "form": content.form, "score": content.score},
        },
        point=point,
        notes=content.notes + ((note,) if note else ()),
    )
    return write_evaluation(out, detected, pictures)
