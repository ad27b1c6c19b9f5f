"""Deal patients to train, val and test."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import yaml

from converters.core.errors import InputError

SPLITS = ("train", "val", "test")
NORMAL = -1  # the stratum of patients without any lesion


def split_patients(
    strata: Mapping[str, frozenset[int]],
    ratios: Sequence[float],
    seed: int,
    boxes: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Deal patients to train, val and test; see `deal_patients`.

    Returns:
        patient → split.
    """
    return {p: SPLITS[part] for p, part in deal_patients(strata, ratios, seed, boxes).items()}


def deal_patients(
    strata: Mapping[str, frozenset[int]],
    ratios: Sequence[float],
    seed: int,
    boxes: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Deal patients to parts so that each class, the normals and the boxes are spread alike.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011): the rarest stratum
    is dealt first, each patient to the part that lacks most of that stratum. Then patients with the
    same classes change places as long as that evens out the boxes, which leaves the classes alone.

    Args:
        strata: patient → class indices found in that person's scans; empty for a normal patient.
        ratios: weights of the parts; they need not sum to one.
        seed: breaks ties; the same patients and seed give the same parts in any order.
        boxes: patient → number of boxes; None does not even them out.

    Returns:
        patient → index of the part. A part with a ratio above zero gets at least one patient where
        there are enough.
    """
    rng = np.random.default_rng(seed)
    order = sorted(strata)
    rng.shuffle(order)
    share = np.asarray(ratios, dtype=float) / sum(ratios)
    wanted = share * len(order)
    sets = {p: strata[p] or frozenset({NORMAL}) for p in order}
    wanted_of = {
        s: share * sum(s in classes for classes in sets.values())
        for s in set().union(*sets.values())
    }
    result: dict[str, int] = {}
    while len(result) < len(order):
        left = [p for p in order if p not in result]
        counts = {s: sum(s in sets[p] for p in left) for s in wanted_of}
        rarest = min((s for s in counts if counts[s]), key=lambda s: (counts[s], s))
        for patient in (p for p in left if rarest in sets[p]):
            need = [
                (share[i] > 0, round(wanted_of[rarest][i], 9), round(wanted[i], 9), -i)
                for i in range(len(share))
            ]
            chosen = max(range(len(share)), key=lambda i: need[i])
            result[patient] = chosen
            wanted[chosen] -= 1
            for s in sets[patient]:
                wanted_of[s][chosen] -= 1
    _fill_empty_parts(result, order, share)
    if boxes is not None:
        _even_out(result, order, sets, boxes, share)
    return result


def _even_out(
    result: dict[str, int],
    order: list[str],
    sets: Mapping[str, frozenset[int]],
    boxes: Mapping[str, int],
    share: np.ndarray,
) -> None:
    """Swap patients of the same classes between parts while that brings the boxes nearer to fair.

    Each part's lack of boxes is measured against its share of all; every swap lowers the sum of
    the squares, so this ends.
    """
    lacks = share * sum(boxes[p] for p in order)
    for p in order:
        lacks[result[p]] -= boxes[p]
    peers: dict[frozenset[int], list[str]] = {}
    for p in order:
        peers.setdefault(sets[p], []).append(p)
    swapped = True
    while swapped:
        swapped = False
        for group in peers.values():
            for p, q in combinations(group, 2):
                a, b, more = result[p], result[q], boxes[q] - boxes[p]
                # change of lacks[a]² + lacks[b]² when a gets `more` boxes and b as many fewer
                if a != b and 2 * more * (more - lacks[a] + lacks[b]) < -1e-6:
                    result[p], result[q] = b, a
                    lacks[a] -= more
                    lacks[b] += more
                    swapped = True


def _fill_empty_parts(result: dict[str, int], order: list[str], share: np.ndarray) -> None:
    """Move one patient from the largest part to each that came out empty in spite of its share."""
    parts = range(len(share))
    for i in parts:
        if share[i] == 0 or i in result.values():
            continue
        counts = [sum(v == k for v in result.values()) for k in parts]
        largest = max(parts, key=lambda k: counts[k])
        if counts[largest] > 1:
            result[next(p for p in reversed(order) if result[p] == largest)] = i


def read_split_file(path: Path, patient_of: Mapping[str, str]) -> dict[str, str]:
    """Read named lists: a YAML or JSON mapping `train`, `val`, `test` → patient or case names.

    Args:
        path: the file.
        patient_of: case → patient, of every case there is.

    Returns:
        patient → split.

    Raises:
        InputError: unreadable, an unknown name, a patient on two sides, or one left out.
    """
    try:
        text = path.read_text(encoding="utf-8")
        # names as the text they are: to YAML's own types, 007 would be 7
        lists = json.loads(text) if path.suffix == ".json" else yaml.load(text, yaml.BaseLoader)  # noqa: S506
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(path, f"cannot be read ({error})", "give a YAML or JSON file") from error
    misshapen = InputError(
        path, "is not a mapping of train, val and test to lists", "mend the file"
    )
    if not isinstance(lists, dict) or not set(lists) <= set(SPLITS):
        raise misshapen
    patients = set(patient_of.values())
    result: dict[str, str] = {}
    for split, names in lists.items():
        if names and not isinstance(names, list):
            raise misshapen
        for name in map(str, names or []):
            patient = name if name in patients else patient_of.get(name)
            if patient is None:
                raise InputError(path, f"`{name}` is no case or patient here", "correct the name")
            if result.setdefault(patient, split) != split:
                raise InputError(
                    path,
                    f"patient `{patient}` would be in both {result[patient]} and {split}",
                    "keep all scans of one person in one list",
                )
    left_out = sorted(patients - set(result))
    if left_out:
        raise InputError(path, f"leaves out {', '.join(left_out[:5])}", "list every patient")
    return result
