"""Sets of images to score: hand-written, drawn by hypothesis, or realistic and seeded."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from converters.core.boxes import Boxes

Images = list[Boxes]


def boxes(*rows: Sequence[float]) -> Boxes:
    """Rows of x1, y1, x2, y2, label and (for detections) score."""
    table = np.array([(*row, 1.0)[:6] for row in rows], np.float64).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


# A coarse grid that reaches outside the image makes duplicates, zero-area boxes, equal IoUs and
# IoUs exactly on a threshold common; few scores make ties common.
_low = st.integers(-3, 4)
_size = st.integers(0, 10)
_score = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))


@st.composite
def _box(draw: st.DrawFn, num_classes: int, scored: bool) -> tuple[float, ...]:
    x, y = draw(_low), draw(_low)
    score = draw(_score) if scored else 1.0
    return (x, y, x + draw(_size), y + draw(_size), draw(st.integers(0, num_classes - 1)), score)


@st.composite
def adversarial_sets(draw: st.DrawFn, num_classes: int) -> tuple[Images, Images]:
    """Truth and detections of up to four images; detections often copy a true box."""
    truth, detections = [], []
    for _ in range(draw(st.integers(1, 4))):
        true_rows = draw(st.lists(_box(num_classes, scored=False), max_size=5))
        rows = draw(st.lists(_box(num_classes, scored=True), max_size=8))
        for row in draw(st.lists(st.sampled_from(true_rows), max_size=4)) if true_rows else ():
            rows.append((*row[:5], draw(_score)))
        truth.append(boxes(*true_rows))
        detections.append(boxes(*draw(st.permutations(rows))))
    return truth, detections


def realistic_set(
    seed: int,
    images: int = 40,
    num_classes: int = 4,
    per_image: int = 30,
    absent: Sequence[int] = (),
) -> tuple[Images, Images]:
    """Shifted copies of true boxes among boxes anywhere; distinct scores, ragged counts.

    Classes in ``absent`` have no true box, but have detections. Every fifth image is a negative.
    """
    rng = np.random.default_rng(seed)
    present = np.setdiff1d(np.arange(num_classes), absent)
    truth, detections = [], []
    for image in range(images):
        n = 0 if image % 5 == 0 else int(rng.integers(1, 6))
        corner = rng.integers(0, 400, (n, 2))
        xyxy = np.hstack([corner, corner + rng.integers(6, 90, (n, 2))]).astype(np.float64)
        label = rng.choice(present, n)
        truth.append(Boxes(xyxy, label, np.ones(n)))

        near = rng.integers(0, n, int(rng.integers(0, per_image // 2 + 1)) if n else 0)
        other = int(rng.integers(0, per_image - len(near) + 1))
        shifted = xyxy[near] + rng.normal(0, 4, (len(near), 4))
        low = rng.uniform(-20, 450, (other, 2))
        found = np.concatenate([shifted, np.hstack([low, low + rng.uniform(1, 80, (other, 2))])])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2])
        found_label = np.concatenate([label[near], rng.integers(0, num_classes, other)])
        score = np.concatenate([rng.beta(4, 2, len(near)), rng.beta(1, 4, other)])
        # detectors speak single precision
        detections.append(
            Boxes(
                found.astype(np.float32).astype(np.float64),
                found_label,
                score.astype(np.float32).astype(np.float64),
            )
        )
    return truth, detections
