"""DEIM's stages: which augmentation and which learning rate in which epoch.

Published for long trainings (configs/deim_dfine, N: epochs 4, 78 and 148 of 160): a gentle start,
then Dense O2O (mosaic and mixup) for half of the way, then the ordinary policy, and a tail on plain
slices that starts again from the best weights. Here the stages are the same shares of any length.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from detect.training.augmentation import PLAIN, POLICY, Augmentation
from detect.training.loop.plan import Average

DENSE = Augmentation(policy=True, mosaic=0.5, mixup=0.5)
FINAL_FACTOR = 0.5  # of the learning rate, where the cosine ends
PUBLISHED_STEPS = 160 * 118_287 // 128  # epochs of COCO's train2017 in batches of 128
DECAY, WARMUP = 0.9999, 1000  # of the published average of the weights, a step


@dataclass(frozen=True)
class Stages:
    """First epochs of the stages, counted from 0.

    Attributes:
        dense: Dense O2O begins.
        policy: Dense O2O is over.
        plain: no augmentation any more.
        end: number of epochs.
    """

    dense: int
    policy: int
    plain: int
    end: int

    def augmentation(self, epoch: int) -> Augmentation:
        """Return what is done to the slices of an epoch."""
        if self.dense <= epoch < self.policy:
            return DENSE
        return POLICY if self.policy <= epoch < self.plain else PLAIN


def stages(epochs: int) -> Stages:
    """Share out a training of so many epochs."""
    tail = round(epochs * 12 / 160)
    dense = min(4, round(epochs * 4 / 58))
    return Stages(dense, dense + (epochs - tail) // 2, epochs - tail, epochs)


def flat_cosine(plan: Stages, steps_per_epoch: int, warmup_epochs: float) -> Callable[[int], float]:
    """Return step → factor on the learning rate: quadratic rise, flat, cosine, flat tail.

    The rise takes a fifth of the training at most.
    """
    rise = min(warmup_epochs, plan.end / 5) * steps_per_epoch
    flat, tail = plan.policy * steps_per_epoch, plan.plain * steps_per_epoch

    def factor(step: int) -> float:
        if step < rise:
            return ((step + 1) / (rise + 1)) ** 2
        if step < flat or flat >= tail:
            return 1.0
        done = min((step - flat) / (tail - flat), 1.0)
        return FINAL_FACTOR + (1 - FINAL_FACTOR) * (1 + math.cos(math.pi * done)) / 2

    return factor


def average(steps: int) -> Average:
    """Average over the same share of a training of so many steps as the published one does.

    As published, it reaches back 10,000 steps, a fifteenth of that training and more than all of a
    short one: its average would still be of the initial weights.
    """
    pace = max(PUBLISHED_STEPS / steps, 1.0)
    return Average(decay=max(1 - (1 - DECAY) * pace, 0.0), warmup=WARMUP / pace)
