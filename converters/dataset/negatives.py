"""Choose the slices without a lesion that go into the dataset."""

import zlib
from collections.abc import Sequence

import numpy as np

from converters.core.errors import ParameterError
from converters.dataset.stratify import SPLITS

Policy = str | float  # "all", "none", or negatives for each lesion slice

DEFAULT = "train=1,val=all,test=all"  # train quickly, but score on everything a reader would see


def parse_policies(text: str) -> dict[str, Policy]:
    """Read the negatives policy of each split.

    Args:
        text: `all`, `none` or a ratio such as `1.0` for all splits, or one for each, such as
            `train=1,val=all,test=all`.

    Raises:
        InputError: not understood.
    """
    parts = [part.partition("=") for part in text.split(",")]
    if len(parts) == 1 and not parts[0][1]:
        return dict.fromkeys(SPLITS, _policy(text))
    policies = {name.strip(): _policy(value.strip()) for name, _, value in parts}
    if set(policies) != set(SPLITS):
        raise ParameterError("negatives", f"`{text}` is no policy", f"write for example {DEFAULT}")
    return policies


def _policy(text: str) -> Policy:
    if text in ("all", "none"):
        return text
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio < float("inf"):
        raise ParameterError(
            "negatives", f"`{text}` is no policy", "use all, none, or a ratio such as 1.0"
        )
    return ratio


def choose_negatives(
    policy: Policy,
    case_id: str,
    candidates: Sequence[int],
    organ_slices: Sequence[int],
    lesion_slices: float,
    seed: int,
) -> list[int]:
    """Choose slices without a lesion from one case.

    Args:
        policy: of the case's split, as `parse_policies` gives it.
        case_id: its name is part of the seed, so that the draw does not depend on the other cases.
        candidates: slices without any lesion voxel.
        organ_slices: slices that show the organ; drawn first.
        lesion_slices: what a ratio multiplies: the case's lesion slices, or for a normal case the
            mean over the cases with lesions.
        seed: of the dataset.
    """
    if policy == "all":
        return sorted(candidates)
    if policy == "none":
        return []
    rng = np.random.default_rng([seed, zlib.crc32(case_id.encode())])
    organ = set(organ_slices)
    drawn = [int(z) for z in rng.permutation(sorted(candidates))]
    drawn.sort(key=lambda z: z not in organ)  # stable: the draw's order is kept within each half
    return sorted(drawn[: round(float(policy) * lesion_slices)])
