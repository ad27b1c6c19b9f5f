"""Model bundles, and the specification of a small one."""

import os
from pathlib import Path

from converters.preprocessing.windowing import Window
from detect.detectors.card import ModelSpec

BUNDLE = {
    "history.csv",
    "metrics.json",
    "model.json",
    "weights/best.safetensors",
    "weights/last.safetensors",
}


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def spec(model: str, classes: int = 2, imgsz: int = 64) -> ModelSpec:
    return ModelSpec(
        family="ultralytics",
        model=model,
        classes=[f"class {k}" for k in range(classes)],
        window=Window(level=0, width=400),
        imgsz=imgsz,
    )


class Evil:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)
