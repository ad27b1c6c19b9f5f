"""The augmentation policy of every family: changes that two CT scans can differ by.

Grey values are windowed HU, so brightness and contrast stand for the window and the contrast
phase, blur and sharpening for the reconstruction kernel, noise for the dose. There is no hue or
saturation in CT, and nobody is scanned upside down.

Pictures are moved, scaled and mirrored as ultralytics does by default, and turned by a few degrees,
as patients lie; YOLO and RT-DETR see mosaics but in the last fifth. No body is the mirror of
another, but with few patients nothing gentler was shown to help: `docs/results.md`, "The
augmentation policy", has the measurements.
"""

import os
from dataclasses import dataclass
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else importing it asks the network for news
import albumentations as A

AIR = 0  # grey of what lies outside a scan: the low end of the window


@dataclass(frozen=True)
class Geometry:
    """Geometric augmentation, as amplitudes of uniform draws.

    Attributes:
        rotation: degrees either way.
        translation: fraction of the image either way.
        scale: fraction either way.
        mirror: probability of exchanging left and right.
    """

    rotation: float = 5.0
    translation: float = 0.1
    scale: float = 0.5
    mirror: float = 0.5


GEOMETRY = Geometry()
MOSAIC_GEOMETRY = Geometry(rotation=10.0)  # DEIM's, after its mosaic


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of training slices in one epoch.

    Attributes:
        policy: whether the policy of this module applies.
        mosaic: probability that a slice becomes four slices of half the size instead.
        mixup: probability that the slices of a batch are laid over each other.
    """

    policy: bool
    mosaic: float = 0.0
    mixup: float = 0.0


PLAIN = Augmentation(policy=False)
POLICY = Augmentation(policy=True)


def grey_transforms() -> list[Any]:
    """Albumentations transforms of grey values; boxes stay where they are."""
    return [
        A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.15, p=0.5),
        A.OneOf([A.GaussianBlur(sigma_limit=(0.3, 0.8)), A.Sharpen(alpha=(0.1, 0.3))], p=0.2),
        A.GaussNoise(std_range=(0.01, 0.03), per_channel=False, p=0.2),
    ]


def geometric_transforms(geometry: Geometry) -> list[Any]:
    """Albumentations transforms that move boxes along; what comes in from outside is air."""
    return [
        A.HorizontalFlip(p=geometry.mirror),
        A.Affine(
            rotate=(-geometry.rotation, geometry.rotation),
            translate_percent=(-geometry.translation, geometry.translation),
            scale=(1 - geometry.scale, 1 + geometry.scale),
            fill=AIR,
            p=1.0,
        ),
    ]


def with_boxes(transforms: list[Any]) -> Any:
    """Compose transforms of `image`, `bboxes` (x1, y1, x2, y2 in px) and their `labels`.

    Boxes are cut at the edges, and left out where less than a tenth or a pixel remains.
    """
    return A.Compose(
        transforms,
        bbox_params=A.BboxParams(
            format="pascal_voc", label_fields=["labels"], clip=True, min_area=1, min_visibility=0.1
        ),
    )
