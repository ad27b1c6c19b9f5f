"""Load training slices as batches of tensors.

Everything random is drawn from the seed, the epoch and the slice's index, never from a stream
that goes on: any number of loading processes gives the same batches, and a resumed run goes on
with the batches that an uninterrupted one would have seen.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from converters.dataset.split import Split
from detect.detectors.predictor import three_planes
from detect.training.augmentation import (
    AIR,
    GEOMETRY,
    MOSAIC_GEOMETRY,
    Augmentation,
    geometric_transforms,
    grey_transforms,
    with_boxes,
)
from detect.training.loop.plan import Target
from detect.training.sampler import EpochSlices

Picture = NDArray[np.uint8]
Sample = tuple[Picture, NDArray[np.float64], NDArray[np.int64]]  # picture, xyxy px, labels
Batch = tuple[torch.Tensor, list[Target]]
MIX = (0.45, 0.55)  # share of the first of two mixed slices, as DEIM draws it


class Slices(Dataset[tuple[torch.Tensor, Target]]):
    """The slices of a split, scaled to a square and augmented.

    Args:
        split: what to read.
        side: of the square, px.
        seed: of the augmentation.
        augmentation: epoch → what is done.
    """

    def __init__(
        self,
        split: Split,
        side: int,
        seed: int,
        augmentation: Callable[[int], Augmentation],
    ) -> None:
        """Keep the arguments."""
        self.split, self.side, self.seed, self.augmentation = split, side, seed, augmentation
        self._policy = with_boxes([*geometric_transforms(GEOMETRY), *grey_transforms()])
        self._mosaic = with_boxes([*geometric_transforms(MOSAIC_GEOMETRY), *grey_transforms()])

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[tuple[torch.Tensor, Target]]:
        """Return the samples of one batch, each named by its epoch and index."""
        epoch = keys[0][0]
        asked = self.augmentation(epoch)
        samples = [_tensors(*self._sample(epoch, index, asked), self.side) for _, index in keys]
        rng = np.random.default_rng([self.seed, epoch, keys[0][1], 1])
        if len(samples) > 1 and rng.random() < asked.mixup:
            return _mix(samples, float(rng.uniform(*MIX)))
        return samples

    def _sample(self, epoch: int, index: int, asked: Augmentation) -> Sample:
        rng = np.random.default_rng([self.seed, epoch, index])
        if rng.random() < asked.mosaic:
            others = rng.integers(0, len(self.split), 3)
            sample = self._four([index, *others.tolist()])
            return _transformed(self._mosaic, sample, int(rng.integers(2**31)))
        sample = self._scaled(index, self.side)
        if asked.policy:
            return _transformed(self._policy, sample, int(rng.integers(2**31)))
        return sample

    def _scaled(self, index: int, side: int) -> Sample:
        truth = self.split.truth[index]
        picture = self.split.read(index)
        height, width = picture.shape[:2]
        scale = np.array([side / width, side / height] * 2)
        if (height, width) != (side, side):
            picture = cv2.resize(picture, (side, side)).astype(np.uint8)
        return picture, truth.xyxy * scale, truth.label

    def _four(self, indices: list[int]) -> Sample:
        half = self.side // 2
        quarters = [self._scaled(index, half) for index in indices]
        planes = quarters[0][0].shape[2:]
        canvas = np.full((self.side, self.side, *planes), AIR, np.uint8)
        boxes, labels = [], []
        for place, (picture, xyxy, label) in enumerate(quarters):
            top, left = half * (place // 2), half * (place % 2)
            canvas[top : top + half, left : left + half] = picture
            boxes.append(xyxy + np.array([left, top] * 2))
            labels.append(label)
        return canvas, np.concatenate(boxes), np.concatenate(labels)


def _transformed(transform: object, sample: Sample, seed: int) -> Sample:
    picture, xyxy, labels = sample
    transform.set_random_seed(seed)  # type: ignore[attr-defined]
    done = transform(image=picture, bboxes=xyxy, labels=labels)  # type: ignore[operator]
    return (
        done["image"],
        np.asarray(done["bboxes"], float).reshape(-1, 4),
        np.asarray(done["labels"], float).astype(np.int64),
    )


def _tensors(
    picture: Picture, xyxy: NDArray[np.float64], labels: NDArray[np.int64], side: int
) -> tuple[torch.Tensor, Target]:
    x1, y1, x2, y2 = xyxy.T / side
    boxes = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1)
    target = {"labels": torch.from_numpy(labels), "boxes": torch.from_numpy(boxes).float()}
    return torch.from_numpy(three_planes([picture])[0]), target


def _mix(
    samples: list[tuple[torch.Tensor, Target]], share: float
) -> list[tuple[torch.Tensor, Target]]:
    """Lay each slice over its predecessor; both keep their boxes."""
    mixed = []
    for k, (picture, target) in enumerate(samples):
        below, target_below = samples[k - 1]
        both = {key: torch.cat([target[key], target_below[key]]) for key in target}
        mixed.append((picture * share + below * (1 - share), both))
    return mixed


def _collate(samples: list[tuple[torch.Tensor, Target]]) -> Batch:
    return torch.stack([picture for picture, _ in samples]), [target for _, target in samples]


class Batches(Sampler[list[tuple[int, int]]]):
    """The order of slices: shuffled anew in every epoch, shared out among processes.

    Attributes:
        epoch: to be set before an epoch is begun.
    """

    def __init__(self, slices: EpochSlices, size: int, rank: int, world: int) -> None:
        """Keep the arguments; `rank` of `world` processes gets its share of each batch."""
        self.slices, self.size, self.rank, self.world = slices, size, rank, world
        self.epoch = 0

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return self.slices.steps(self.size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield (epoch, index) of the slices of each batch."""
        rng = np.random.default_rng([self.slices.seed, self.epoch])
        order = rng.permutation(self.slices.of(self.epoch))
        for k in range(len(self)):
            batch = order[k * self.size : (k + 1) * self.size]
            part = batch[self.rank :: self.world]
            yield [(self.epoch, int(index)) for index in (part if len(part) else batch[:1])]


def loader(slices: Slices, batches: Batches, workers: int) -> DataLoader[Batch]:
    """Load batches in so many processes."""
    return DataLoader(
        slices,  # type: ignore[arg-type]
        batch_sampler=batches,
        collate_fn=_collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else it draws from that of the noise, at times or not
    )
