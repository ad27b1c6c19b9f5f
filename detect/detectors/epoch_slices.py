"""Which slices an epoch sees: all with a real lesion, and so many others as are wanted."""

import numpy as np
from numpy.typing import NDArray

from detect.dataset import Split


class EpochSlices:
    """The slices of each epoch, for every family.

    Most slices of a scan show no lesion, and an epoch over all of them learns little from most of
    its steps; made-up lesions are as many as one likes, and would crowd out the real ones. Both are
    drawn anew for each epoch, so that all have their turn.
    """

    def __init__(self, split: Split, negatives: float, synthetic: float, seed: int) -> None:
        """Prepare to draw.

        Args:
            split: train.
            negatives: slices without a lesion, for each one with; there may be fewer.
            synthetic: slices with made-up lesions, for each one with real ones; there may be fewer.
                Where no lesion is real, all are seen.
            seed: of the draws.
        """
        has_box = np.array([len(truth) > 0 for truth in split.truth])
        made_up = np.array(split.synthetic)
        self._real = np.flatnonzero(has_box & ~made_up)
        self._synthetic = np.flatnonzero(has_box & made_up)
        if not len(self._real):
            self._real, self._synthetic = self._synthetic, self._real
        self._without = np.flatnonzero(~has_box)
        self._grown = min(round(synthetic * len(self._real)), len(self._synthetic))
        with_lesion = len(self._real) + self._grown
        self._drawn = min(round(negatives * with_lesion), len(self._without))
        self.seed = seed

    def __len__(self) -> int:
        """Count the slices, the same in every epoch."""
        return len(self._real) + self._grown + self._drawn

    def of(self, epoch: int) -> NDArray[np.int64]:
        """Return the indices of an epoch's slices, rising."""
        rng = np.random.default_rng([self.seed, epoch, 1])
        drawn = rng.choice(self._without, self._drawn, replace=False)
        grown = rng.choice(self._synthetic, self._grown, replace=False)
        return np.sort(np.concatenate([self._real, grown, drawn]))
