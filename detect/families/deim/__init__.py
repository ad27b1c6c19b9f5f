"""DEIM: the D-FINE network of transformers with DEIM's losses, augmentation and schedules.

Huang et al., DEIM: DETR with Improved Matching for Fast Convergence (CVPR 2025), on
Peng et al., D-FINE: Redefine Regression Task in DETRs as Fine-grained Distribution Refinement
(ICLR 2025). Both are published under Apache-2.0; the code here is our own.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # the network is built from numbers, never fetched
os.environ["TRANSFORMERS_OFFLINE"] = "1"
