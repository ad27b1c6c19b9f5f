"""Measure the seconds that `detect predict` spends, by thread and stage.

Run: ``python benchmarks/predict_stages.py RUN``, RUN being a YOLO of `detect train`; its exports,
where it has any, are timed too. On the scan of `predict.py`, in processor seconds of the thread
that a stage runs in; reader, detector and writer overlap, so of many scans the slowest one counts.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from predict import generated, measure


class Stages:
    """Sum the processor time of each stage's thread, and its wall clock."""

    def __init__(self) -> None:
        """Start at zero."""
        self.cpu: Counter[str] = Counter()
        self.wall: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, name: str, clock: Callable[[], float] = time.thread_time) -> Iterator[None]:
        """Add the seconds of the block."""
        cpu, wall = clock(), time.perf_counter()
        yield
        with self._lock:
            self.cpu[name] += clock() - cpu
            self.wall[name] += time.perf_counter() - wall

    def of(
        self, owner: Any, attribute: str, name: str,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:  # fmt: skip
        """Add the seconds of every call of a function."""
        function: Callable[..., Any] = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.measure(name, clock):
                return function(*args, **kwargs)

        setattr(owner, attribute, timed)


GROUPS = {  # thread → its stages; those behind a + are inside the one before
    "reader": ("hash", "read and decode", "settle pictures"),
    "detector": ("window", "network input", "network", "boxes of outputs", "link"),
    "writer": ("tables", "draw", "PNG", "label volume"),
    "at the end": ("report",),
}


def stages(run: Path, runtime: str, scan: Path, out: Path) -> dict[str, Any]:
    """Predict on one scan with every stage timed; one thread a network, so that seconds add up."""
    began = time.process_time()
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a runtime is imported
    import detect.workflows.predict
    from converters.preprocessing.pictures import Pictures
    from detect.detectors import predictor as steps
    from detect.inference import detect_slices as slices
    from detect.inference import outputs
    from detect.inference import process_scan as writing
    from detect.inference import scan as reading
    from detect.workflows import prediction_summary

    timer = Stages()
    timer.of(reading, "hash_files", "hash")
    timer.of(reading, "read_volume", "read and decode")
    timer.of(reading, "pictures", "settle pictures")
    timer.of(Pictures, "__getitem__", "window")
    timer.of(slices, "link", "link")
    timer.of(slices, "class_agnostic_nms", "link")
    timer.of(writing, "write_case_outputs", "tables")
    timer.of(outputs, "draw", "draw")
    timer.of(outputs, "write_png", "PNG")
    timer.of(writing, "write_label_volume", "label volume")
    # of all threads: nothing else runs then
    timer.of(prediction_summary, "prediction_report", "report", time.process_time)

    def find_boxes(family: Any, network: Any, images: Any) -> Any:
        with timer.measure("network input"):
            batch = family.inputs(images)
        with timer.measure("network"):
            raw = network(batch)
        with timer.measure("boxes of outputs"):
            return family.decode(raw, [image.shape[:2] for image in images])

    steps.find_boxes = find_boxes
    if runtime == "torch":
        import detect.families.ultralytics.detector as family

        family.find_boxes = find_boxes  # type: ignore[attr-defined]
    imports = time.process_time() - began
    start, wall = time.process_time(), time.perf_counter()
    detect.workflows.predict.predict(run, [scan], out=out, device="cpu", runtime=runtime)
    total = time.process_time() - start
    for inner in ("draw", "PNG"):
        timer.cpu["tables"] -= timer.cpu[inner]
    return {
        "imports": imports, "cpu": dict(timer.cpu), "total": total,
        "wall": time.perf_counter() - wall,
        "overlays": len(list(out.rglob("*.png"))),
    }  # fmt: skip


def table(run: Path, folder: Path) -> None:
    """Print the stages of one scan, in processor seconds of their threads."""
    from detect.detectors.card import read_model_card
    from detect.detectors.exported import RUNTIMES, read_exports

    scan = generated(folder)
    known = read_exports(run, read_model_card(run)).exports
    print("stages of one scan, processor seconds of the thread they run in, one thread a network")
    for runtime in [name for name in RUNTIMES if name == "torch" or name in known]:
        job = ["--job", run, runtime, scan, folder / f"s-{runtime}"]
        words = [sys.executable, __file__, *map(str, job)]
        measured = json.loads(measure(words)[3].splitlines()[-1])
        print(
            f"{runtime}: {measured['total']:.1f} s,"
            f" and {measured['imports']:.1f} s of imports before"
        )
        sums = {}
        for thread, names in GROUPS.items():
            parts = {name: measured["cpu"].get(name, 0.0) for name in names}
            sums[thread] = sum(parts.values())
            listed = ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())
            print(f"  {thread:11}{sums[thread]:6.2f}   {listed}")
        overlapping = {name: value for name, value in sums.items() if name != "at the end"}
        bound = max(overlapping, key=lambda name: overlapping[name])
        print(
            f"  of many scans it is bound by the {bound}; {measured['overlays']} overlays",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--folder", type=Path, help="keep scans and results here")
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        run, runtime, scan, out = options.job
        print(json.dumps(stages(Path(run), runtime, Path(scan), Path(out))))
        return
    if options.run is None:
        parser.error("give a model folder of `detect train`")
    with tempfile.TemporaryDirectory() as temporary:
        table(options.run, options.folder or Path(temporary))


if __name__ == "__main__":
    main()
