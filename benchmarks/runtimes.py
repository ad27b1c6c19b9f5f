"""Compare and time the runtimes of one model on slices of a dataset, in one process.

Run: ``python benchmarks/runtimes.py RUN DATASET [--slices 200]``, after `detect export`. Each
runtime that the bundle holds an export for sees the same slices. Prints matched boxes of score
`--floor` or more, their largest differences from torch, and the median ms a slice from picture to
boxes, with the load of the machine: rounds of all runtimes alternate, so that what else runs slows
all of them.
"""

import argparse
import os
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from converters.dataset.folder import open_dataset
from converters.dataset.split import load_split
from detect.detectors.card import read_model_card
from detect.detectors.exported import load_predictor, read_exports
from detect.detectors.parity import FLOOR, compare

BATCH = 8
TIMED = 5  # calls of a round


def main() -> None:
    """Print one row a runtime."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--floor", type=float, default=FLOOR, help="lower for random weights")
    options = parser.parse_args()
    dataset = open_dataset(options.data)
    splits = [load_split(dataset, name) for name in ("val", "test", "train")]
    pictures = [split.read(k) for split in splits for k in range(len(split))]
    chosen = (
        np.linspace(0, len(pictures) - 1, min(len(pictures), options.slices)).round().astype(int)
    )
    pictures = [pictures[k] for k in chosen]
    batches = [pictures[k : k + BATCH] for k in range(0, len(pictures), BATCH)]

    known = read_exports(options.model, read_model_card(options.model)).exports
    names = ["torch", *(name for name in known if name != "torchscript")]
    runtimes = {name: load_predictor(options.model, "cpu", name) for name in names}
    detections = {
        name: [boxes for batch in batches for boxes in runtime.predict(batch)]
        for name, runtime in runtimes.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name, runtime in runtimes.items():
            for batch in batches[:TIMED]:
                start = time.perf_counter()
                runtime.predict(batch)
                seconds[name].append((time.perf_counter() - start) / len(batch))
    print(
        f"{len(pictures)} slices, batch {BATCH}, {torch.get_num_threads()} thread(s),"
        f" load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    for name in names:
        agreement = compare("slices", detections["torch"], detections[name], options.floor)
        apart = (
            "" if agreement.px is None else f"{agreement.px:.2g} px, {agreement.score:.2g} in score"
        )
        ms = [1000 * second for second in seconds[name]]
        print(
            f"{name:14} {agreement.boxes:6} matched {agreement.unmatched:3} not  {apart:32}"
            f" {median(ms):7.1f} ms a slice (best {min(ms):.1f})"
        )


if __name__ == "__main__":
    main()
