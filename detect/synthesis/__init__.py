"""Grow lesions into organs that have none: shape, texture, edge and mass effect, in HU.

The idea is that of Hu et al., "Label-free liver tumor segmentation", CVPR 2023. `grow_lesions`
works on arrays alone, and fast enough to be called while training.
"""

from detect.synthesis.grow import Grown, GrownLesion, grow_lesions
from detect.synthesis.kinds import KINDS
from detect.synthesis.organ import Organ, measure_organ

__all__ = ["KINDS", "Grown", "GrownLesion", "Organ", "grow_lesions", "measure_organ"]
