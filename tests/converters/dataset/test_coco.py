"""COCO JSON: lossless, scored alike by pycocotools, and strict about what it reads."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.dataset.coco import detections_from_coco, detections_to_coco, truth_from_coco
from detect.evaluation.metrics import evaluate
from tests.helpers.references import coco_dataset, run_cocoeval
from tests.helpers.samples import boxes, realistic_set

SOURCE = Path("detections.json")
DTYPES = ["float64", "int64", "float64"]


def assert_same(actual: list[Boxes], expected: list[Boxes]) -> None:
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a.xyxy, b.xyxy)
        np.testing.assert_array_equal(a.label, b.label)
        np.testing.assert_array_equal(a.score, b.score)
        assert [str(values.dtype) for values in (b.xyxy, b.label, b.score)] == DTYPES


def test_pycocotools_on_the_written_files_gives_the_same_numbers(tmp_path: Path) -> None:
    truth, detections = realistic_set(11)
    (tmp_path / "truth.json").write_text(json.dumps(coco_dataset(truth, 4)))
    results = detections_to_coco(detections, range(1, len(truth) + 1))
    (tmp_path / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO(str(tmp_path / "truth.json"))
        expected = run_cocoeval(ground_truth, ground_truth.loadRes(str(tmp_path / "results.json")))

    image_ids, read_truth = truth_from_coco(
        json.loads((tmp_path / "truth.json").read_text(encoding="utf-8")), tmp_path / "truth.json"
    )
    read = detections_from_coco(
        json.loads((tmp_path / "results.json").read_text(encoding="utf-8")),
        image_ids,
        4,
        tmp_path / "results.json",
    )
    assert_same(truth, read_truth)
    assert_same(detections, read)
    metrics = evaluate(read_truth, read, ["a", "b", "c", "d"])
    assert metrics.map50 == pytest.approx(expected.map50, abs=1e-12)
    assert metrics.map50_95 == pytest.approx(expected.map50_95, abs=1e-12)


_corner = st.floats(-64, 4096, width=32).map(lambda x: round(x * 1024) / 1024)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_corner, _corner, _corner, _corner, st.integers(0, 2), st.floats(0, 1))))
def test_round_trip(rows: list[tuple[float, ...]]) -> None:
    ordered = [(min(a, c), min(b, d), max(a, c), max(b, d), *rest) for a, b, c, d, *rest in rows]
    detections = [boxes(*ordered), boxes()]
    text = json.dumps(detections_to_coco(detections, [7, 3]))
    assert_same(detections, detections_from_coco(json.loads(text), [7, 3], 3, SOURCE))


def test_results_are_what_coco_asks_for() -> None:
    (result,) = detections_to_coco([boxes(), boxes((1, 2, 4, 8, 2, 0.25))], [5, 9])
    assert result == {"image_id": 9, "category_id": 3, "bbox": [1, 2, 3, 6], "score": 0.25}


GOOD: dict[str, Any] = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        ({"annotations": []}, "not a list"),
        ([GOOD, 3], "result 1 is not an object"),
        ([{k: v for k, v in GOOD.items() if k != "score"}], "result 0 has no score"),
        ([{**GOOD, "image_id": 2}], "unknown image_id 2"),
        ([{**GOOD, "image_id": "1"}], "unknown image_id '1'"),
        ([{**GOOD, "category_id": 0}], "category_id 0, not 1 to 2"),
        ([{**GOOD, "category_id": 3}], "category_id 3, not 1 to 2"),
        ([{**GOOD, "category_id": None}], "category_id None"),
        ([{**GOOD, "bbox": [0, 0, 1]}], "not four numbers"),
        ([{**GOOD, "bbox": "0123"}], "not four numbers"),
        ([{**GOOD, "bbox": [0, 0, "1", 1]}], "not four numbers"),
        ([{**GOOD, "bbox": [0, 0, -1, 1]}], "impossible bbox"),
        ([{**GOOD, "bbox": [0, 0, float("nan"), 1]}], "impossible bbox"),
        ([{**GOOD, "bbox": [0, float("-inf"), 1, 1]}], "impossible bbox"),
        ([{**GOOD, "score": 1.5}], "score 1.5"),
        ([{**GOOD, "score": float("nan")}], "score nan"),
        ([{**GOOD, "score": "0.5"}], "score '0.5'"),
    ],
)
def test_malformed_results_are_an_input_error(results: object, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        detections_from_coco(results, [1], 2, SOURCE)
    assert problem in caught.value.problem
    assert caught.value.path == "detections.json"


def test_truth_comes_in_order_of_image_ids_with_the_negatives() -> None:
    dataset = coco_dataset([boxes((0, 0, 1, 2, 0)), boxes(), boxes((0, 0, 3, 4, 1))], 2)
    dataset["images"].reverse()
    image_ids, truth = truth_from_coco(dataset, SOURCE)
    assert image_ids == [1, 2, 3]
    assert_same(truth, [boxes((0, 0, 1, 2, 0)), boxes(), boxes((0, 0, 3, 4, 1))])


def broken(**changes: object) -> dict[str, Any]:
    return {**coco_dataset([boxes((0, 0, 1, 1, 0))], 1), **changes}


@pytest.mark.parametrize(
    ("dataset", "problem"),
    [
        ([], "not a COCO annotation file"),
        ({"images": []}, "not a COCO annotation file"),
        (broken(images=[3]), "not a COCO annotation file"),
        (broken(images=[{"id": [1]}]), "not a COCO annotation file"),
        (broken(images=[{"id": 1}, {"id": 1}]), "image id 1 occurs twice"),
        (broken(categories=[{"id": 0}]), "category ids are [0], not 1 to 1"),
        (broken(annotations=[{**GOOD, "iscrowd": 1}]), "annotation 0 is a crowd region"),
        (broken(annotations=[{**GOOD, "image_id": 9}]), "annotation 0 has the unknown image_id 9"),
        (broken(annotations=["x"]), "annotation 0 is not an object"),
    ],
)
def test_malformed_truth_is_an_input_error(dataset: object, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        truth_from_coco(dataset, SOURCE)
    assert problem in caught.value.problem
