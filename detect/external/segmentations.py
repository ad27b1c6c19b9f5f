"""Turn the components of a segmentation into boxes with a score."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from converters.core.errors import InputError, ParameterError
from converters.core.progress import progress
from converters.dataset.folder import Dataset
from converters.dataset.manifest import CaseEntry
from converters.dataset.split import Split
from converters.imaging.read import check_same_grid, read_mask
from converters.imaging.volume import Volume
from converters.masks.components import Component, decode_rle, find_lesions
from detect.external.case_names import files_by_case
from detect.external.nnunet_probabilities import read_probabilities

Score = Literal["mean", "max", "volume", "constant"]
HALF_VOLUME_MM3 = 1000.0  # a lesion of 1 ml scores 0.5
_BELONGS = 0.9  # share of a label's voxels that has to be probable; the rest allows for resampling


def parse_labels(text: str, class_names: Sequence[str]) -> dict[int, int]:
    """Read `tumour=2,cyst=3`: what the labels of the volumes mean; `tumour=2,tumour=4` merges.

    Returns:
        label number → class index.

    Raises:
        InputError: not of that form, an unknown class, or a label of two classes.
    """
    classes: dict[int, int] = {}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.rpartition("="))
        if name not in class_names:
            known = ", ".join(class_names)
            raise ParameterError("labels", f"`{part}` names no class", f"the classes are {known}")
        if not re.fullmatch(r"[0-9]{1,5}", number) or not 1 <= int(number) <= 65535:
            raise ParameterError("labels", f"`{part}` names no label", f"write {name}=2")
        index = class_names.index(name)
        if classes.setdefault(int(number), index) != index:
            raise ParameterError("labels", f"gives label {number} to two classes", "choose one")
    return classes


def read_segmentations(
    files: Sequence[Path],
    root: Path,
    dataset: Dataset,
    split: Split,
    classes: Mapping[int, int] | None,
    score: Score,
) -> tuple[list[Boxes], set[int]]:
    """Turn label volumes into boxes: the 8-connected components of each class on each slice.

    The boxes are cut to the pictures, as those of a detector that sees no more than them.

    Args:
        files: volumes below `root`, one a case, told apart as `files_by_case` does; those of other
            splits are passed over.
        root: folder of the volumes.
        dataset: gives the grid of each case.
        split: gives the slices.
        classes: label number → class index, other labels being background; None: as in the
            dataset's own masks, where an unknown label is refused.
        score: of a box. `mean`, `max`: of its class's probability over its pixels; `volume`:
            V / (V + 1 ml) of its 3D lesion; `constant`: 1.

    Returns:
        boxes of each picture, and the labels that occur.

    Raises:
        InputError: a case without a volume, a volume on another grid than its scan, or labels
            without a meaning.
    """
    request = dataset.manifest.request
    recipe = request.recipe
    if classes is None and (recipe.mask_kind != "labels" or request.more):
        raise InputError(
            root,
            "holds label numbers, and the dataset's own masks have names or several numberings",
            f"say what the labels are with --labels, for example {recipe.class_names[0]}=1",
        )
    entries = {case.id: case for case in dataset.manifest.cases}
    by_case = files_by_case(files, root, list(entries), [recipe, *request.more])
    wanted = list(dict.fromkeys(split.case_ids))
    missing = [case for case in wanted if case not in by_case]
    if missing:
        more = f" and {len(missing) - 1} more of {split.name}" if missing[1:] else ""
        raise InputError(
            root,
            f"has no volume of case {missing[0]}{more}",
            "add it (all zero where nothing was found), or give another --split",
        )
    place = {key: k for k, key in enumerate(zip(split.case_ids, split.slice_indices, strict=True))}
    rows: list[list[tuple[float, ...]]] = [[] for _ in range(len(split))]
    present: set[int] = set()
    with progress("segmentations", len(wanted)) as advance:
        for case in wanted:
            volume = _read_volume(by_case[case], entries[case])
            values = set(np.unique(volume.array).tolist()) - {0}
            if classes is None and values - recipe.known_labels:
                raise InputError(
                    by_case[case],
                    f"holds labels {sorted(values - recipe.known_labels)} that have no meaning",
                    "say what the labels are with --labels, for example"
                    f" {recipe.class_names[0]}={min(values)}",
                )
            present |= values
            for component, value in _scored(
                volume, recipe.class_of_label if classes is None else classes, score, by_case[case]
            ):
                k = place.get((case, component.slice_index))
                row = None if k is None else _row(component, value, entries[case])
                if k is not None and row:
                    rows[k].append(row)
            advance(case)
    tables = (np.array(entry, np.float64).reshape(-1, 6) for entry in rows)
    return [Boxes(t[:, :4], t[:, 4].astype(np.int64), t[:, 5]) for t in tables], present


def probabilities_beside(file: Path) -> Path:
    """Name the file in which nnU-Net puts the probabilities of a segmentation."""
    return file.with_name(file.name.removesuffix(".gz")).with_suffix(".npz")


def _read_volume(file: Path, case: CaseEntry) -> Volume:
    volume = read_mask(file)
    scan = Volume(  # the scan's grid without its voxels
        array=np.broadcast_to(np.uint8(0), case.shape),
        affine=np.asarray(case.affine),
        to_file=np.eye(4),
    )
    try:
        check_same_grid(volume, scan, file, Path(case.id))
    except InputError as error:
        remedy = "resample it onto the grid of the scan, by nearest neighbour"
        raise InputError(error.path, error.problem, remedy) from error
    return volume


def _scored(
    volume: Volume, classes: Mapping[int, int], score: Score, file: Path
) -> list[tuple[Component, float]]:
    labels: NDArray[np.unsignedinteger] = volume.array  # type: ignore[assignment]
    lesions, components = find_lesions(labels, classes, volume.spacing)
    if score == "constant":
        return [(component, 1.0) for component in components]
    if score == "volume":
        voxel_mm3 = float(np.prod(volume.spacing))
        by_id = {lesion.lesion_id: _of_volume(lesion.voxels * voxel_mm3) for lesion in lesions}
        return [(component, by_id[component.lesion_id]) for component in components]

    maps = _class_probabilities(volume, classes, file)
    _, height, width = labels.shape
    scored = []
    for c in components:
        inside = maps[c.label][c.slice_index][decode_rle(c.rle, height, width)]
        value = inside.mean(dtype=np.float64) if score == "mean" else inside.max()
        scored.append((c, min(float(value), 1.0)))
    return scored


def _of_volume(mm3: float) -> float:
    return mm3 / (mm3 + HALF_VOLUME_MM3)


def _class_probabilities(
    volume: Volume, classes: Mapping[int, int], file: Path
) -> dict[int, NDArray[np.float32]]:
    """Probability of each class that occurs, the sum over its labels, if it fits the volume."""
    here = {classes[n] for n in np.unique(volume.array).tolist() if n in classes}
    labels = [n for n, index in classes.items() if index in here]
    if not labels:
        return {}
    path = probabilities_beside(file)
    by_label, channels = read_probabilities(path, labels, volume)
    for label, probability in by_label.items():
        if not (probability.min() >= 0 and probability.max() <= 1 + 1e-3):  # nor NaN
            raise InputError(path, "holds values that are no probabilities", "predict again")
        inside = probability[volume.array == label]
        # the winner among n probabilities has at least 1/n; at a wrong place most are near 0
        if inside.size and float((inside >= 0.99 / channels).mean()) < _BELONGS:
            raise InputError(
                path,
                f"does not belong to {file.name}: label {label} is improbable where it was set",
                "predict again with --save_probabilities",
            )
    maps: dict[int, NDArray[np.float32]] = {}
    for label, probability in by_label.items():
        known = maps.get(classes[label])
        maps[classes[label]] = probability if known is None else known + probability
    return maps


def _row(component: Component, score: float, case: CaseEntry) -> tuple[float, ...] | None:
    """Place a component in its picture, cut at the edges of a crop; None where it is outside."""
    frame = case.placed
    x, y, width, height = frame.box(component.x, component.y, component.width, component.height)
    left, right = max(x, 0), min(x + width, frame.width)
    top, bottom = max(y, 0), min(y + height, frame.height)
    if left >= right or top >= bottom:
        return None
    return left, top, right, bottom, component.label, score
