"""Measure the speed of a detector and the memory of this process."""

import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from converters.dataset.folder import read_png
from converters.dataset.split import Split
from detect.detectors.protocol import Predictor
from detect.evaluation.detect_split import BATCH

WARM_UP = 3  # calls that are not timed: the first ones fuse, allocate and choose kernels
CALLS, LONGEST = 20, 3.0  # calls that are timed; s after which fewer are enough …
FEWEST = 5  # … but not fewer than these
PICTURES = 64


def ms_per_slice(detector: Predictor, split: Split) -> tuple[float, int]:
    """Time `predict`, from grey pictures in memory to boxes: median ms a slice, and batch.

    Args:
        detector: trained.
        split: its pictures are taken at even distances.
    """
    chosen = np.linspace(0, len(split) - 1, min(len(split), PICTURES)).round().astype(int)
    images = [read_png(split.paths[k]) for k in chosen]
    batch = min(BATCH, len(images))
    seconds: list[float] = []
    begin = time.perf_counter()
    for call in range(WARM_UP + CALLS):
        first = call * batch % (len(images) - batch + 1)
        start = time.perf_counter()
        detector.predict(images[first : first + batch])  # boxes in numpy: a GPU has finished
        if call >= WARM_UP:
            seconds.append(time.perf_counter() - start)
        if len(seconds) >= FEWEST and time.perf_counter() - begin > LONGEST:
            break
    return 1000 * median(seconds) / batch, batch


def describe_device(device: torch.device) -> str:
    """Name a GPU, or the CPU with the number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def peak_mib(device: torch.device) -> float:
    """Most memory since this process began, MiB: torch's own on a GPU, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.is_file():  # not getrusage, which on Linux begins with the peak of the parent
        line = next(s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    import resource  # which Windows lacks

    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
