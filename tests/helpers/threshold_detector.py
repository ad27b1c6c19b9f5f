"""A detector that needs no training: connected bright pixels, so that places can be checked."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import pytest

from converters.core.boxes import Boxes
from converters.core.files import sha256
from converters.dataset.fingerprint import Range, TrainedOn
from converters.preprocessing.windowing import Window
from detect.cli.main import main
from detect.detectors import registry
from detect.detectors.card import ModelCard, ModelSpec, OperatingPoint, Parameters, read_model_card

SCOPE = TrainedOn(
    cases=3, pixel_mm=Range(low=0.5, high=0.9), slice_mm=Range(low=1, high=3),
    low_hu=Range(low=-50, high=0), high_hu=Range(low=200, high=300), body_parts=["ABDOMEN"],
)  # fmt: skip


class ThresholdDetector:
    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    @classmethod
    def load(cls, spec: ModelSpec, weights: Path, device: str) -> "ThresholdDetector":
        return cls(spec)

    def predict(self, images: Sequence[np.ndarray]) -> list[Boxes]:
        return [self._one(image) for image in images]

    @staticmethod
    def _one(image: np.ndarray) -> Boxes:
        parts = cc3d.statistics(cc3d.connected_components(image > 128, connectivity=8))
        rows = []
        for (y, x), count in zip(
            parts["bounding_boxes"][1:], parts["voxel_counts"][1:], strict=True
        ):
            if count >= 4:  # less is noise
                rows.append((x.start, y.start, x.stop, y.stop, count / image.size))
        table = np.array(sorted(rows, key=lambda row: -row[4]), dtype=float).reshape(-1, 5)
        return Boxes(table[:, :4], np.zeros(len(table), np.int64), table[:, 4])


FAMILY = ThresholdDetector


def make_threshold_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Register the family for one test, and make a bundle of it."""
    family = registry.Family(__name__, ["threshold"], "Apache-2.0")
    monkeypatch.setitem(registry.FAMILIES, "threshold", family)
    bundle = folder / "threshold-model"
    bundle.mkdir()
    (bundle / "weights.safetensors").write_bytes(b"none are needed")
    ModelCard(
        spec=ModelSpec(
            family="threshold", model="threshold", classes=["bright"],
            window=Window(level=100, width=200), imgsz=64,
        ),
        parameters=Parameters(unfused=0, fused=0),
        weights="weights.safetensors",
        weights_sha256=sha256(bundle / "weights.safetensors"),
        operating_point=OperatingPoint(confidence=0.0),
        started_from="scratch", training={}, dataset_sha256="", versions={},
    ).write(bundle)  # fmt: skip
    return bundle


def detections(out: Path, case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (out / case / "detections.json").read_text(encoding="utf-8")
    )
    return content


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def another(model: Path, name: str, **changes: Any) -> Path:
    """Copy a bundle with other weights and other changes."""
    copy = model.with_name(name)
    shutil.copytree(model, copy)
    card = read_model_card(copy)
    (copy / card.weights).write_bytes(name.encode())
    changes["weights_sha256"] = sha256(copy / card.weights)
    card.model_copy(update=changes).write(copy)
    return copy
