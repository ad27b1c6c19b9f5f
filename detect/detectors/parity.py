"""Compare the boxes of one runtime with those of another."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from converters.core.boxes import Boxes
from detect.detectors.exported import Difference

FLOOR = 0.05  # below it, boxes are many, and which of them are kept turns on rounding
NEAR = 2.0  # px and a tenth in score: a box further away is another box
_ALONE = 3 * NEAR  # what a box without a partner costs: more than the worst pair


def compare(
    pictures: str, ours: Sequence[Boxes], theirs: Sequence[Boxes], floor: float = FLOOR
) -> Difference:
    """Pair the boxes of two runtimes on the same pictures.

    Sets are compared, since boxes of nearly equal scores may change places. A box from `floor` on
    may find its partner below it. Pairs have the same class and differ by at most `NEAR` px and
    `NEAR` / 20 in score; among those, the pairing with the least total difference is taken.

    Args:
        pictures: what they are, for people.
        ours, theirs: of each picture.
        floor: score from which boxes have to have a partner.
    """
    count, unmatched, px, score = 0, 0, [0.0], [0.0]
    for a, b in zip(ours, theirs, strict=True):
        sides = np.abs(a.xyxy[:, None] - b.xyxy).max(axis=2, initial=0)
        scores = np.abs(a.score[:, None] - b.score)
        asked = (a.score[:, None] >= floor) | (b.score >= floor)
        allowed = (a.label[:, None] == b.label) & (sides <= NEAR) & (scores <= NEAR / 20)
        cost = np.where(allowed, sides + 20 * scores, _ALONE)
        rows, columns = linear_sum_assignment(cost)
        rows, columns = (k[cost[rows, columns] < _ALONE] for k in (rows, columns))
        alone_a, alone_b = np.ones(len(a), bool), np.ones(len(b), bool)
        alone_a[rows], alone_b[columns] = False, False
        rows, columns = (k[asked[rows, columns]] for k in (rows, columns))
        count += len(rows)
        px += sides[rows, columns].tolist()
        score += scores[rows, columns].tolist()
        unmatched += int(
            (alone_a & (a.score >= floor)).sum() + (alone_b & (b.score >= floor)).sum()
        )
    return Difference(
        pictures=pictures,
        slices=len(ours),
        floor=floor,
        boxes=count,
        unmatched=unmatched,
        px=max(px) if count else None,
        score=max(score) if count else None,
    )
