"""RF-DETR: Roboflow's network and losses, in our training loop.

Robinson et al., RF-DETR: Neural Architecture Search for Real-Time Detection Transformers (2025).
The package `rfdetr` is published under Apache-2.0; its downloads, data sets and trainer are not
used. Made to be fine-tuned: its DINOv2 backbone, a transformer without built-in locality, learns
slowly from random weights.
"""

import os
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"  # the network is built from numbers, never fetched
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # importing `rfdetr` imports that, which asks for news

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # torch's, of a function that it calls
    import rfdetr.models.lwdetr  # noqa: F401
