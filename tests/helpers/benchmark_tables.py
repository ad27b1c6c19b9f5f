"""The table of a benchmark."""

import csv
from pathlib import Path


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "benchmark.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
