"""Sets of images to score: hand-written, drawn by hypothesis, or realistic and seeded."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from converters.core.boxes import Boxes
from converters.dataset.provenance import Origins
from detect.evaluation.matching import Matches
from detect.evaluation.overlaps import ANY_OVERLAP, Overlaps, find_overlaps

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
        corners = np.concatenate([shifted, np.hstack([low, low + rng.uniform(1, 80, (other, 2))])])
        corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
        found_label = np.concatenate([label[near], rng.integers(0, num_classes, other)])
        score = np.concatenate([rng.beta(4, 2, len(near)), rng.beta(1, 4, other)])
        # detectors speak single precision
        detections.append(
            Boxes(
                corners.astype(np.float32).astype(np.float64),
                found_label,
                score.astype(np.float32).astype(np.float64),
            )
        )
    return truth, detections


def in_image(matches: Matches) -> Overlaps:
    return find_overlaps(
        matches.xyxy, matches.image, matches.truth_xyxy, matches.truth_image,
        matches.num_images, ANY_OVERLAP,
    )  # fmt: skip


def patients_of(images: int, patients: int) -> list[str]:
    return [f"p{(7 * k) % patients}" for k in range(images)]


def drawn_sets(patients: list[str], draws: int, seed: int) -> list[list[int]]:
    """Image indices of each draw, a patient's images as often as the patient was drawn."""
    names = sorted(set(patients))
    counts = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), draws
    )
    assert (counts.sum(axis=1) == len(names)).all()
    return [
        [k for k, p in enumerate(patients) for _ in range(row[names.index(p)])] for row in counts
    ]


def sample(seed: int, images: int = 30, patients: int = 5) -> tuple[Images, Images, Origins]:
    """Scans of three images, every other patient with two of them; some scans without a lesion."""
    truth, detections = realistic_set(seed, images=images, num_classes=3, per_image=6)
    for k in (3, 4, 5, 12, 13, 14):
        truth[k] = truth[k][:0]
    if seed % 2:  # equal scores, within images and across them
        detections = [type(d)(d.xyxy, d.label, d.score.round(1)) for d in detections]
    rng = np.random.default_rng(seed)
    scan = [f"s{k // 3}" for k in range(images)]
    origins = Origins(
        case=scan,
        patient=[f"p{int(s[1:]) % patients}" for s in scan],
        lesion=[rng.integers(1, 3, len(t)) + 10 * t.label for t in truth],
        diameter_mm=[rng.uniform(2, 30, len(t)) for t in truth],
        area=[rng.uniform(30, 3000, len(t)) for t in truth],
    )
    return truth, detections, origins
