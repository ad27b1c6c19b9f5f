"""Draw the slices of each epoch: all with a real lesion, and as many others as are wanted."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from converters.dataset.split import Split
from detect.detectors.settings import TrainSettings

Indices = NDArray[np.int64]


class EpochSlices:
    """The slices of each epoch, for every family.

    Most slices of a scan show no lesion, and an epoch over all of them learns little from most of
    its steps; synthetic lesions are as many as one likes, and would crowd out the real ones. Both
    are drawn anew for each epoch, so that all have their turn. A share of the slices without a
    lesion can be kept for hard ones: next to a lesion's first or last slice, and those on which the
    network is surest of a lesion (`mining`).

    Attributes:
        seed: of the draws.
        hard: how many of an epoch's slices are such hard ones; 0 where there is nothing to choose.
        hardest: slices without a lesion on which the network was surest of one, rising. It is what
            a resumed run must be given back.
    """

    def __init__(
        self, split: Split, negatives: float, synthetic: float, seed: int, hard: float = 0.0
    ) -> None:
        """Prepare to draw.

        Args:
            split: train.
            negatives: slices without a lesion, for each one with; there may be fewer.
            synthetic: slices with synthetic lesions, for each one with real ones; there may be
                fewer. Where no lesion is real, all are seen.
            seed: of the draws.
            hard: share of the slices without a lesion that are hard ones.
        """
        has_box = np.array([len(truth) > 0 for truth in split.truth])
        synthetic_slice = np.array(split.synthetic)
        self._real = np.flatnonzero(has_box & ~synthetic_slice)
        self._synthetic = np.flatnonzero(has_box & synthetic_slice)
        if not len(self._real):
            self._real, self._synthetic = self._synthetic, self._real
        self._without = np.flatnonzero(~has_box)
        self._grown = min(round(synthetic * len(self._real)), len(self._synthetic))
        with_lesion = len(self._real) + self._grown
        self._drawn = min(round(negatives * with_lesion), len(self._without))
        self.seed = seed
        self.hard = round(hard * self._drawn) if self._drawn < len(self._without) else 0
        self._near = _neighbours_of_lesions(split, has_box) if self.hard else self._without[:0]
        self.hardest: Indices = self._without[:0]

    @classmethod
    def for_training(cls, train: Split, settings: TrainSettings) -> Self:
        """Draw as the settings of a training ask."""
        return cls(
            train, settings.negatives, settings.synthetic, settings.seed, settings.hard_negatives
        )

    def __len__(self) -> int:
        """Count the slices, the same in every epoch."""
        return len(self._real) + self._grown + self._drawn

    def steps(self, batch: int) -> int:
        """Count the steps of an epoch; the last one takes what is left."""
        return -(-len(self) // batch)

    def of(self, epoch: int) -> Indices:
        """Return the indices of an epoch's slices, rising."""
        rng = np.random.default_rng([self.seed, epoch, 1])
        pool = np.union1d(self._near, self.hardest)
        hard = rng.choice(pool, min(self.hard, len(pool)), replace=False)
        others = np.setdiff1d(self._without, hard)
        drawn = rng.choice(others, self._drawn - len(hard), replace=False)
        grown = rng.choice(self._synthetic, self._grown, replace=False)
        return np.sort(np.concatenate([self._real, grown, hard, drawn]))

    def candidates(self, epoch: int) -> Indices:
        """Draw the slices without a lesion to look for hard ones among, no more than an epoch's."""
        rng = np.random.default_rng([self.seed, epoch, 2])
        count = min(len(self), len(self._without))
        return np.sort(rng.choice(self._without, count, replace=False))

    def keep_hardest(self, candidates: Indices, surest: NDArray[np.float64]) -> None:
        """Take the candidates of the surest false positives, as many as are drawn.

        Args:
            candidates: slices without a lesion.
            surest: score of the surest box on each; 0 where there is none.
        """
        order = np.argsort(-surest, kind="stable")[: self.hard]
        self.hardest = np.sort(candidates[order[surest[order] > 0]])


def _neighbours_of_lesions(split: Split, has_box: NDArray[np.bool_]) -> Indices:
    """Return the slices without a lesion next to one with, in the same scan."""
    places = list(zip(split.case_ids, split.slice_indices, strict=True))
    lesions = {place for place, lesion in zip(places, has_box, strict=True) if lesion}
    beside = [(case, z - 1) in lesions or (case, z + 1) in lesions for case, z in places]
    return np.flatnonzero(np.array(beside) & ~has_box)
