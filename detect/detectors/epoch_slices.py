"""Which slices an epoch sees: all with a lesion, and as many without one as are wanted."""

import numpy as np
from numpy.typing import NDArray

from detect.dataset import Split

Indices = NDArray[np.int64]


class EpochSlices:
    """The slices of each epoch, for every family.

    Most slices of a scan show no lesion, and an epoch over all of them learns little from most of
    its steps. Those without one are drawn anew for each epoch, so that all have their turn. A share
    of the draws can be kept for hard ones: slices next to a lesion's first or last one, and those
    on which the network is surest of a lesion (`mining`).

    Attributes:
        seed: of the draws.
        hard: how many of an epoch's slices are such hard ones; 0 where there is nothing to choose.
        hardest: slices without a lesion on which the network was surest of one, rising. It is what
            a resumed run must be given back.
    """

    def __init__(self, split: Split, negatives: float, seed: int, hard: float = 0.0) -> None:
        """Prepare to draw.

        Args:
            split: train.
            negatives: slices without a lesion, for each one with; there may be fewer.
            seed: of the draws.
            hard: share of the slices without a lesion that are hard ones.
        """
        has_box = np.array([len(truth) > 0 for truth in split.truth])
        self._with, self._without = np.flatnonzero(has_box), np.flatnonzero(~has_box)
        self._drawn = min(round(negatives * len(self._with)), len(self._without))
        self.seed = seed
        self.hard = round(hard * self._drawn) if self._drawn < len(self._without) else 0
        self._near = _beside(split, has_box) if self.hard else self._without[:0]
        self.hardest: Indices = self._without[:0]

    def __len__(self) -> int:
        """Count the slices, the same in every epoch."""
        return len(self._with) + self._drawn

    def of(self, epoch: int) -> Indices:
        """Return the indices of an epoch's slices, rising."""
        rng = np.random.default_rng([self.seed, epoch, 1])
        pool = np.union1d(self._near, self.hardest)
        hard = rng.choice(pool, min(self.hard, len(pool)), replace=False)
        others = np.setdiff1d(self._without, hard)
        drawn = rng.choice(others, self._drawn - len(hard), replace=False)
        return np.sort(np.concatenate([self._with, hard, drawn]))

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


def _beside(split: Split, has_box: NDArray[np.bool_]) -> Indices:
    """Return the slices without a lesion next to one with, in the same scan."""
    places = list(zip(split.case_ids, split.slice_indices, strict=True))
    lesions = {place for place, own in zip(places, has_box, strict=True) if own}
    beside = [(case, z - 1) in lesions or (case, z + 1) in lesions for case, z in places]
    return np.flatnonzero(np.array(beside) & ~has_box)
