"""Training slices as ultralytics' datasets, from our splits."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ultralytics.data.augment import Mosaic
from ultralytics.data.dataset import YOLODataset
from ultralytics.models.rtdetr.val import RTDETRDataset

from converters.dataset.split import Split


class _InMemoryLabels:
    """Takes labels from our dataset: no scan of the folder, and no `.cache` file left in it."""

    data: dict[str, Any]
    img_path: str
    im_files: list[str]
    order: Any  # indices of the slices that this epoch sees

    def get_img_files(self, img_path: str) -> list[str]:
        return [str(path) for path in self.data["splits"][img_path].paths]

    def __len__(self) -> int:
        return len(self.order)

    def get_image_and_label(self, index: int) -> Any:
        """Take a slice of this epoch, for itself or as a part of a mosaic."""
        return super().get_image_and_label(int(self.order[index]))  # type: ignore[misc]

    def build_transforms(self, hyp: Any = None) -> Any:
        transforms: Any = super().build_transforms(hyp)  # type: ignore[misc]
        for transform in _leaves(transforms):
            if isinstance(transform, Mosaic):  # else of the slices seen last, resumed or not
                transform.buffer_enabled = False
        return transforms

    def get_labels(self) -> list[dict[str, Any]]:
        split: Split = self.data["splits"][self.img_path]
        self.order = np.arange(len(split))
        return [
            {
                "im_file": str(path),
                "shape": size,
                "cls": truth.label[:, None].astype(np.float32),
                "bboxes": _fractions(truth.xyxy, size),
                "segments": [],
                "keypoints": None,
                "normalized": True,
                "bbox_format": "xywh",
            }
            for path, size, truth in zip(split.paths, split.sizes, split.truth, strict=True)
        ]


def seed_augmentation(transforms: Any, seed: int) -> None:
    """Seed albumentations, which draws from a generator of its own."""
    for transform in getattr(transforms, "transforms", []):
        if type(transform).__name__ == "Albumentations" and transform.transform is not None:
            transform.transform.set_random_seed(seed)


def _leaves(transforms: Any) -> Iterator[Any]:
    for transform in getattr(transforms, "transforms", []):
        yield transform
        yield from _leaves(transform)


class YOLOSlices(_InMemoryLabels, YOLODataset):  # type: ignore[misc]
    """Training slices of YOLO."""


class RTDETRSlices(_InMemoryLabels, RTDETRDataset):  # type: ignore[misc]
    """Training slices of RT-DETR."""


def _fractions(xyxy: Any, size: tuple[int, int]) -> Any:
    height, width = size
    x1, y1, x2, y2 = xyxy.T
    return np.stack(
        [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height],
        axis=1,
    ).astype(np.float32)
