"""Score a trained model on a split of a dataset."""

from pathlib import Path

from converters.core.files import sha256
from converters.dataset.folder import Dataset, open_dataset
from converters.dataset.manifest import FILE_NAME as MANIFEST
from detect.evaluation.detect_split import detect_split
from detect.evaluation.detected import Detected
from detect.inference.model_set import (
    FUSION,
    MEAN_RULE,
    ModelPaths,
    ModelSet,
    load_models,
    read_models,
)
from detect.inference.tta import VIEWS
from detect.workflows.model_data import common_part
from detect.workflows.write_evaluation import EvaluateResult, check_out, write_evaluation


def evaluate(
    model: ModelPaths,
    data: str | Path,
    *,
    split: str = "test",
    out: str | Path | None = None,
    device: str = "auto",
    runtime: str = "torch",
    augment: bool = False,
    pictures: int = 12,
    overwrite: bool = False,
) -> EvaluateResult:
    """Score a model, or several whose boxes are fused as `predict` does, on a split.

    A model of a cross-validation is scored on its own fold's split, and on no other dataset: which
    patients it was trained on is known there only.

    Args:
        model: bundle of `detect train`, or several.
        data: dataset folder, of the same classes and input representation as the model's.
        split: train, val or test.
        out: folder to make; `MODEL/evaluation-SPLIT` if not given, or for a runtime other than
            torch `MODEL/evaluation-SPLIT-RUNTIME`. An ensemble has `runs/NAMES-HASH` for MODEL.
            With `augment`, `-augment` stands at the end.
        device: `auto`, `cpu`, or a GPU's number.
        runtime: torch, or an export of `detect export`.
        augment: fuse what is found on each picture, on its mirror image and with a margin.
        pictures: how many slices with lesions to draw, spread over the cases.
        overwrite: replace what lies at `out`.

    Raises:
        InputError: the model does not suit the dataset, one of them cannot be read, or a patient
            is in two splits.
    """
    used = read_models(model, runtime=runtime, augment=augment)
    dataset = open_dataset(data)
    part = common_part(used, dataset, split)
    home = used.bundles[0] if len(used.bundles) == 1 else Path("runs") / used.folder_name
    how = ("" if runtime == "torch" else f"-{runtime}") + ("-augment" if augment else "")
    out = Path(out or home / f"evaluation-{split}{how}")
    check_out(out, overwrite)

    boxes = detect_split(load_models(used, device), part)
    card = used.card
    facts: dict[str, object] = {
        "fold": str(card.fold) if card.fold else None,
        "runtime": runtime,
        **({"augment": VIEWS} if augment else {}),
        "model": card.model_dump(mode="json", by_alias=True),
    }
    if len(used.cards) > 1:
        facts["fusion"] = FUSION
        facts["members"] = [member.model_dump(mode="json", by_alias=True) for member in used.cards]
    detected = Detected(
        name=card.spec.model,
        split=part,
        boxes=boxes,
        classes=card.spec.classes,
        window=card.spec.representation.shown_window,
        facts=facts,
        point=used.point,
        linking=used.linking,
        notes=_notes(used, dataset),
    )
    return write_evaluation(out, detected, pictures)


def _notes(used: ModelSet, dataset: Dataset) -> tuple[str, ...]:
    """Write notes for the reader of an ensemble's numbers."""
    if len(used.cards) == 1:
        return ()
    notes = []
    if used.point is None or used.point.rule == MEAN_RULE:
        notes.append(
            "no confidence was chosen for these models as one: `detect operating-point RULE` with"
            " the same --model options does, on val"
        )
    known = sha256(dataset.folder / MANIFEST)
    for bundle, card in zip(used.bundles, used.cards, strict=True):
        if card.dataset_sha256 != known:
            notes.append(
                f"{bundle.name} was trained on another dataset; these patients may be in it"
            )
    return tuple(notes)
