"""Which epoch's network a training leaves: the last one's, at the end of its schedule.

By then the learning rate is near zero and the network has settled, as nnU-Net's final checkpoint
has. The epoch that is best on val is a maximum over noise where val is a few patients. Both tested
after the same trainings (three folds, two patients of val each, mAP50 of `benchmarks/recipe.py`
pooled over all arms): liver tumours .17 by the best and .20 by the last (+.001 to +.058), sarcomas
.04 and .08 (-.002 to +.074). Only where `patience` cut the schedule short the best epoch is kept.
"""

import csv
from pathlib import Path


def kept_weights(run_dir: Path, epochs: int) -> Path:
    """Return the weight file in `run_dir` that a training of at most so many epochs leaves."""
    with (run_dir / "history.csv").open(encoding="utf-8", newline="") as rows:
        whole = sum(1 for _ in csv.DictReader(rows)) == epochs
    return run_dir / "weights" / ("last.safetensors" if whole else "best.safetensors")
