"""Which slices an epoch sees: all with a lesion, and as many without one as are wanted."""

import numpy as np
from numpy.typing import NDArray

from detect.dataset import Split


class EpochSlices:
    """The slices of each epoch, for every family.

    Most slices of a scan show no lesion, and an epoch over all of them learns little from most of
    its steps. Those without one are drawn anew for each epoch, so that all have their turn.
    """

    def __init__(self, split: Split, negatives: float, seed: int) -> None:
        """Prepare to draw.

        Args:
            split: train.
            negatives: slices without a lesion, for each one with; there may be fewer.
            seed: of the draws.
        """
        has_box = np.array([len(truth) > 0 for truth in split.truth])
        self._with, self._without = np.flatnonzero(has_box), np.flatnonzero(~has_box)
        self._drawn = min(round(negatives * len(self._with)), len(self._without))
        self.seed = seed

    def __len__(self) -> int:
        """Count the slices, the same in every epoch."""
        return len(self._with) + self._drawn

    def of(self, epoch: int) -> NDArray[np.int64]:
        """Return the indices of an epoch's slices, rising."""
        rng = np.random.default_rng([self.seed, epoch, 1])
        drawn = rng.choice(self._without, self._drawn, replace=False)
        return np.sort(np.concatenate([self._with, drawn]))
