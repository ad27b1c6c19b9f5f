"""Draw real and synthetic lesions side by side on a sheet without labels, and write its key.

Run: ``python benchmarks/contact_sheet.py DATASET --out OUT`` on a folder of `detect convert …
--synthetic`, which holds both. Each lesion is shown once, where its box is largest; to each real
one that is drawn goes the made-up one nearest to it in diameter, so that size gives nothing away.
`OUT/sheet.png` shows them numbered and shuffled; `OUT/key.json`, to be opened after guessing, says
for each number whether it is real, and its diameter in mm.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.core.drawing import grey_channel
from converters.core.files import atomic_file, write_json
from converters.dataset.folder import open_dataset
from converters.dataset.split import Split, load_split
from converters.dataset.stratify import SPLITS

COLUMNS = 8
SIDE = 64  # px of a picture around a lesion's centre
ENLARGED = 3

Lesion = tuple[Split, int, int, float]  # split, picture, box on it, diameter in mm


def main() -> None:
    """Draw, shuffle, and write the sheet and its key."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    dataset = open_dataset(options.data)
    held = {case.split for case in dataset.manifest.cases}
    splits = [load_split(dataset, name) for name in SPLITS if name in held]
    real, made_up = (
        [lesion for split in splits for lesion in _lesions(split, wanted)]
        for wanted in (False, True)
    )
    pairs = min(options.pairs, len(real), len(made_up))
    if not pairs:
        parser.error(f"{options.data} holds {len(real)} real lesions, {len(made_up)} made-up ones")
    chosen: list[tuple[Lesion, bool]] = []
    for k in rng.permutation(len(real))[:pairs]:
        nearest = min(made_up, key=lambda lesion: abs(lesion[3] - real[k][3]))
        made_up.remove(nearest)
        chosen += [(real[k], True), (nearest, False)]
    order = [chosen[k] for k in rng.permutation(len(chosen))]
    tiles = [_tile(lesion, number) for number, (lesion, _) in enumerate(order)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[k : k + COLUMNS]) for k in range(0, len(tiles), COLUMNS)]
    with atomic_file(options.out / "sheet.png") as partial:
        partial.write_bytes(cv2.imencode(".png", np.vstack(rows))[1].tobytes())
    key = [
        {"number": number, "real": is_real, "diameter_mm": round(lesion[3], 1)}
        for number, (lesion, is_real) in enumerate(order)
    ]
    write_json(options.out / "key.json", key)
    print(f"{options.out / 'sheet.png'}: {pairs} real lesions and {pairs} made-up ones")


def _lesions(split: Split, made_up: bool) -> list[Lesion]:
    """Take each lesion's largest box."""
    largest: dict[tuple[str, int], Lesion] = {}
    for k, diameters in enumerate(split.diameters_mm):
        if split.synthetic[k] != made_up:
            continue
        for box, diameter in enumerate(diameters):
            lesion = (split.case_ids[k], int(split.lesion_ids[k][box]))
            if lesion not in largest or diameter > largest[lesion][3]:
                largest[lesion] = (split, k, box, float(diameter))
    return list(largest.values())


def _tile(lesion: Lesion, number: int) -> NDArray[np.uint8]:
    split, picture, box, _ = lesion
    x1, y1, x2, y2 = split.truth[picture].xyxy[box]
    padded = np.pad(grey_channel(split.read(picture)), SIDE // 2)  # the centre stays in the middle
    top, left = round((y1 + y2) / 2), round((x1 + x2) / 2)
    around = padded[top : top + SIDE, left : left + SIDE]
    size = (SIDE * ENLARGED, SIDE * ENLARGED)
    tile = np.asarray(cv2.resize(around, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    cv2.putText(tile, str(number), (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 255, 1, cv2.LINE_AA)
    return tile


if __name__ == "__main__":
    main()
