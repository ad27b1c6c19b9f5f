"""Mine hard negatives: between the stages of a training, find what the network takes for lesions.

As in bootstrapping and online hard example mining (Sung and Poggio, 1998; Shrivastava et al., CVPR
2016), but between stages rather than in every step, so that it costs little.
"""

from collections.abc import Callable

import numpy as np
import torch

from converters.core.boxes import Boxes
from converters.dataset.split import Split
from detect.training.distributed import is_first, world
from detect.training.sampler import EpochSlices

STAGES = 3  # of a training, equally long; mined is between them


def mining_epochs(slices: EpochSlices, epochs: int) -> set[int]:
    """Return the epochs, counted from 0, that begin by mining."""
    if not slices.hard:
        return set()
    return {epochs * stage // STAGES for stage in range(1, STAGES)} - {0}


def mine(
    slices: EpochSlices, train: Split, epoch: int, find: Callable[[Split], list[Boxes]]
) -> None:
    """Let a network choose the slices without a lesion that are hardest to tell from one with.

    With several processes the first one looks, and all draw by what it found.

    Args:
        slices: of the epochs from this one on.
        train: the split that they are of.
        epoch: counted from 0.
        find: the network as it stands; boxes on each slice of a split.
    """
    if is_first():
        candidates = slices.candidates(epoch)
        detections = find(train.select(candidates.tolist()))
        surest = np.array([boxes.score.max(initial=0.0) for boxes in detections])
        slices.keep_hardest(candidates, surest)
    if world() > 1:
        hardest = [slices.hardest.tolist()]
        torch.distributed.broadcast_object_list(hardest)
        slices.hardest = np.array(hardest[0], np.int64)
