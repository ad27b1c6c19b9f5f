"""Several models scored and used as one, and the confidence chosen for them as one."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from converters.core.boxes import nms
from converters.core.errors import InputError
from converters.core.files import sha256
from converters.dataset.folder import open_dataset
from converters.dataset.folds import Fold
from converters.dataset.split import load_split
from detect.cli.main import main
from detect.detectors.card import read_model_card
from detect.detectors.operating_rule import Rule
from detect.detectors.registry import load_detector
from detect.evaluation.metrics import evaluate as score
from detect.inference.ensembles import FILE_NAME
from detect.inference.fusion import FUSION_IOU, weighted_box_fusion
from detect.inference.model_set import MEAN_RULE, read_models
from detect.workflows.compare import compare
from detect.workflows.evaluate import evaluate
from detect.workflows.operating_point import set_operating_point
from detect.workflows.predict import predict
from tests.helpers.tiny import make_scans


@pytest.fixture
def pair(tiny_run: Path, tmp_path: Path) -> list[Path]:
    """A bundle, and one whose weights are a little off; both may be changed."""
    first, second = (shutil.copytree(tiny_run, tmp_path / name) for name in ("tiny", "other"))
    shake(second, 0.02)
    return [first, second]


def shake(bundle: Path, share: float) -> None:
    """Add noise to the weights, in proportion to each layer's."""
    card = read_model_card(bundle)
    state = load_file(bundle / card.weights)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        if name.endswith("conv.weight"):
            state[name] = tensor + share * tensor.std() * torch.randn(
                tensor.shape, generator=generator
            )
    save_file(state, bundle / card.weights)
    card.model_copy(update={"weights_sha256": sha256(bundle / card.weights)}).write(bundle)


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([*map(str, words), "--quiet"])
    return int(end.value.code or 0)


def fused(pair: list[Path], dataset: Path, split: str) -> tuple[list, list]:
    """Return the truth, and boxes of each model fused one picture after the other."""
    part = load_split(open_dataset(dataset), split)
    detectors = [load_detector(bundle, "cpu") for bundle in pair]
    detections = []
    for k in range(len(part)):
        image_boxes = [
            nms(detector.predict([part.read(k)])[0], FUSION_IOU) for detector in detectors
        ]
        detections.append(weighted_box_fusion(image_boxes))
    return part.truth, detections


def test_an_ensemble_is_scored_by_its_fused_boxes(
    pair: list[Path], tiny_dataset: Path, tmp_path: Path
) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    result = evaluate(pair, tiny_dataset, out=tmp_path / "out", device="cpu")
    truth, detections = fused(pair, tiny_dataset, "test")
    mean = float(np.mean([read_model_card(bundle).operating_point.confidence for bundle in pair]))
    by_hand = score(truth, detections, ["bright", "dark"], mean)
    assert result.metrics.map50 == pytest.approx(by_hand.map50, abs=1e-6)
    assert result.metrics.frozen.mean.f1 == pytest.approx(by_hand.frozen.mean.f1, abs=1e-6)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(result.folder / "annotations.json"))
        scoring = COCOeval(coco, coco.loadRes(str(result.folder / "predictions.json")), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    assert result.metrics.map50 == pytest.approx(scoring.stats[1], abs=1e-6)
    alone = [evaluate(bundle, tiny_dataset).metrics.map50_95 for bundle in pair]
    assert result.metrics.map50_95 not in alone

    written = json.loads((result.folder / "metrics.json").read_text(encoding="utf-8"))
    cards = [json.loads((bundle / "model.json").read_text(encoding="utf-8")) for bundle in pair]
    assert sorted(map(str, written["members"])) == sorted(map(str, cards))
    assert written["model"]["parameters"]["fused"] == sum(c["parameters"]["fused"] for c in cards)
    assert written["operating_point"]["rule"] == MEAN_RULE
    assert any("detect operating-point" in note for note in result.notes)
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert "yolov8n + yolov8n; weighted box fusion" in page
    names = compare(result.folder, pair[0] / "evaluation-test").to_json()
    assert "yolov8n + yolov8n" in json.dumps(names)


def test_folders_of_ensembles_do_not_clash(
    pair: list[Path], tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same two models give the same place, two others of the same names another one."""
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "--data", tiny_dataset, "--pictures", 0]
    assert run(*words, "--model", pair[0], "--model", pair[1]) == 0
    (first,) = Path("runs").iterdir()
    assert first.name.startswith("other+tiny-")
    assert (first / "evaluation-test" / "metrics.json").is_file()
    assert run(*words, "--model", pair[1], "--model", pair[0]) == 2  # it is there
    assert not (pair[0] / "evaluation-test").exists()
    shake(pair[1], 0.001)
    assert run(*words, "--model", pair[0], "--model", pair[1]) == 0
    assert len(list(Path("runs").iterdir())) == 2


def test_a_confidence_is_chosen_for_the_models_as_one(
    pair: list[Path], tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = [(bundle / "model.json").read_text(encoding="utf-8") for bundle in pair]
    words = ["--model", pair[0], "--model", pair[1], "--data", tiny_dataset]
    assert run("operating-point", "f1", *words) == 0
    assert "count as found" in capsys.readouterr().out
    point = read_models(pair).point
    assert point is not None and point.rule.startswith("best class-mean F1 at IoU 0.5 on val")

    # no other confidence is better on val, by trying them
    truth, detections = fused(pair, tiny_dataset, "val")
    scores = np.concatenate([image_boxes.score for image_boxes in detections])
    tried = [point.confidence, *np.unique(scores)[:: max(1, len(scores) // 40)].tolist()]
    f1 = [score(truth, detections, ["bright", "dark"], c).frozen.mean.f1 for c in tried]
    assert max(f1[1:]) <= f1[0] + 0.005  # of 1,001 confidences the best one is taken
    assert point.reached is not None and point.reached.f1 == pytest.approx(f1[0], abs=1e-6)

    # it is used by those who ask for the same models, in any order, and the models are as before
    backwards = read_models(pair[::-1])
    assert backwards.point == point and backwards.linking == read_models(pair).linking
    result = evaluate(pair, tiny_dataset, out=tmp_path / "out", pictures=0)
    assert result.point == point and not result.notes
    scan = make_scans(tmp_path / "scans", cases=1) / "case0-scan.nii"
    predict(pair, [scan], out=tmp_path / "found")
    content = json.loads(
        (tmp_path / "found" / "case0-scan" / "detections.json").read_text(encoding="utf-8")
    )
    assert (content["confidence"], content["confidence_rule"]) == (point.confidence, point.rule)
    assert [(bundle / "model.json").read_text(encoding="utf-8") for bundle in pair] == cards

    # a second choice replaces the first one; what is damaged is refused in a line
    anew = set_operating_point(pair, tiny_dataset, Rule("fp-per-scan", 0), device="cpu")
    assert read_models(pair).point == anew.point != point
    (kept,) = [bundle / FILE_NAME for bundle in pair if (bundle / FILE_NAME).exists()]
    kept.write_text("{")
    capsys.readouterr()
    assert run("evaluate", *words, "--out", tmp_path / "again") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert FILE_NAME in line and "delete it" in line


def test_members_that_know_each_others_patients_are_refused(
    pair: list[Path], tiny_dataset: Path, tmp_path: Path
) -> None:
    card = read_model_card(pair[1])
    card.model_copy(update={"fold": Fold(number=1, of=3, seed=0)}).write(pair[1])
    for order in (pair, pair[::-1]):
        with pytest.raises(InputError, match="may know the patients"):
            evaluate(order, tiny_dataset, out=tmp_path / "out")
    card.model_copy(update={"dataset_sha256": "0" * 64}).write(pair[1])
    result = evaluate(pair, tiny_dataset, out=tmp_path / "out", pictures=0)
    assert any("other was trained on another dataset" in note for note in result.notes)
