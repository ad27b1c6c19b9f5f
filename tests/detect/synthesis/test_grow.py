"""Grown lesions on arrays: places, sizes in mm, and contrast."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import lognorm

from detect.synthesis import KINDS, Organ, grow_lesions, measure_organ
from detect.synthesis.grow import Grown
from detect.synthesis.grow import _displace as displace
from detect.synthesis.patch import make_patch
from detect.synthesis.place import draw_diameter
from tests.helpers.livers import BLOOD, LEVEL, SIGMA, liver

SPACING = (1.5, 1.5, 2.0)
ALL = np.ones((3, 3, 3))


@cache
def made_liver() -> tuple[NDArray[np.int16], NDArray[np.bool_], NDArray[np.bool_], Organ]:
    hu, inside, vessel = liver()
    organ = measure_organ(hu, inside, SPACING)
    assert organ is not None
    return hu, inside, vessel, organ


@cache
def grow(kind: str, seed: int = 0, push: bool = True) -> Grown:
    """Grow four lesions at most; the result is not to be changed."""
    hu, _, _, organ = made_liver()
    rng = np.random.default_rng(seed)
    return grow_lesions(hu, organ, SPACING, rng, kinds=[kind], count=(4, 4), push=push)


def mm_from(mask: NDArray[np.bool_], spacing: tuple[float, ...] = SPACING) -> NDArray[np.float64]:
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing[::-1]))


@pytest.mark.parametrize("kind", KINDS)
def test_lesions_lie_in_the_organ_clear_of_vessels_and_of_each_other(kind: str) -> None:
    _, inside, vessel, _ = made_liver()
    grown = grow(kind)
    labels, count = ndimage.label(grown.labels, ALL)
    assert count == len(grown.lesions) >= 2
    assert not (grown.labels[~inside]).any()
    assert set(np.unique(grown.labels)) == {0, KINDS[kind].label}
    assert (grown.labels > 0)[vessel].sum() <= 0.01 * (grown.labels > 0).sum()
    for index in range(1, count + 1):
        others = (labels > 0) & (labels != index)
        assert mm_from(others)[labels == index].min() >= 3
    for lesion in grown.lesions:  # what is told of a lesion, found again in the labels
        x, y, z = lesion.centre
        component = labels == labels[tuple(round(v) for v in (z, y, x))]
        assert component.sum() == lesion.voxels
        assert ndimage.center_of_mass(component) == pytest.approx((z, y, x))
        volume = lesion.voxels * np.prod(SPACING)
        assert lesion.diameter_mm == pytest.approx(2 * (volume * 3 / 4 / np.pi) ** (1 / 3))


@pytest.mark.parametrize("kind", KINDS)
def test_what_changes_is_the_lesion_and_its_blurred_edge(kind: str) -> None:
    hu, inside, _, _ = made_liver()
    grown = grow(kind, push=False)
    changed = grown.hu != hu
    lesion = grown.labels > 0
    assert not changed[~inside].any()
    assert changed[lesion].mean() > 0.9  # some voxels come to the same whole number
    reach = 4 * np.hypot(KINDS[kind].edge_mm, 0.6) + 3
    assert mm_from(lesion)[changed].max() <= reach
    pushed = grow(kind)
    assert np.array_equal(pushed.hu[~inside], hu[~inside])  # the organ itself does not bulge


def test_tissue_is_pushed_away_from_the_centre() -> None:
    """Tissue moves away from the centre, measured on a ramp of 10 HU a mm."""
    hu = np.broadcast_to(10 * np.arange(41, dtype=np.float32), (41, 41, 41)).copy()
    patch = make_patch(hu.shape, (1.0, 1.0, 1.0), (20.0, 20.0, 20.0), 6.0, 16.0)
    z, y, x = patch.offsets
    distance = np.asarray(np.sqrt(z**2 + y**2 + x**2) - 6, np.float32)
    before = hu.copy()
    displace(hu, patch, distance, np.full_like(distance, 50), 2.0)
    moved = (before - hu)[20, 20] / 10
    assert moved[26] == pytest.approx(2, abs=0.1) and moved[14] == pytest.approx(-2, abs=0.1)
    assert (np.diff(moved[26:34]) < 0).all() and moved[33:] == pytest.approx(0, abs=0.05)
    still = before.copy()
    displace(still, patch, distance, np.full_like(distance, 1.5), 2.0)  # at the organ's surface
    assert np.array_equal(still, before)


def core_values(kind: str, depth: float) -> list[float]:
    """Mean HU of the inside of each lesion that has voxels so many mm below its surface."""
    means = []
    for seed in range(6):
        grown = grow(kind, seed)
        labels, count = ndimage.label(grown.labels, ALL)
        below = ndimage.distance_transform_edt(grown.labels > 0, sampling=SPACING[::-1])
        for index in range(1, count + 1):
            core = (labels == index) & (below > depth)
            if core.sum() > 12:
                means.append(float(grown.hu[core].mean()))
    assert len(means) >= 6
    return means


def test_cysts_are_water() -> None:
    error = SIGMA  # a dozen correlated voxels of noise
    assert all(-error < hu < 20 + error for hu in core_values("cyst", 3))
    values = np.array(core_values("cyst", 3))
    assert 4 < values.mean() < 16


def test_metastases_are_darker_and_hccs_brighter_than_the_liver() -> None:
    metastases = np.array(core_values("metastasis", 3))
    assert (metastases < LEVEL - 5).all() and -75 < np.mean(metastases - LEVEL) < -30
    assert (metastases > 15).all()
    assert np.mean(core_values("hcc", 1.6)) > LEVEL + 10
    assert np.min(core_values("hcc", 1.6)) > LEVEL - 40  # washed out, never as dark as water


def test_hemangiomas_fill_from_the_edge() -> None:
    dark, bright = [], []
    for seed in range(6):
        grown = grow("hemangioma", seed)
        below = ndimage.distance_transform_edt(grown.labels > 0, sampling=SPACING[::-1])
        dark += list(np.percentile(grown.hu[below > 4], [25])) if (below > 4).any() else []
        bright.append(np.percentile(grown.hu[grown.labels > 0], 97))
    assert LEVEL - 50 < np.mean(dark) < LEVEL - 10
    assert LEVEL + 30 < np.mean(bright) <= BLOOD + 2 * SIGMA


def test_cysts_are_sharp_and_metastases_are_not() -> None:
    """Cysts end within a short distance of their outline, metastases further out."""
    hu, inside, _ = liver((1, 1, 1), 30, noise=0)
    organ = measure_organ(hu, inside, (1, 1, 1))
    shown: dict[str, list[float]] = {"cyst": [], "metastasis": []}
    for kind, distances in shown.items():
        for seed in range(4):
            rng = np.random.default_rng(seed)
            grown = grow_lesions(hu, organ, (1, 1, 1), rng, kinds=[kind], count=(1, 1), push=False)
            away = mm_from(grown.labels > 0, (1, 1, 1))
            distances.append(np.percentile(away[(abs(grown.hu - hu) >= 2) & (away > 0)], 95))
    assert max(shown["cyst"]) < 2.5
    assert min(shown["metastasis"]) > 2.5


def test_noise_goes_on_inside_as_outside() -> None:
    """In a cyst, which is even, noise has the liver's deviation and hangs together as there."""
    hu, inside, vessel, _ = made_liver()
    deep = (mm_from(~inside) > 6) & (mm_from(vessel) > 6)
    seen = {"liver": [(hu, deep)], "cyst": []}
    for seed in range(6):
        grown = grow("cyst", seed)
        below = ndimage.distance_transform_edt(grown.labels > 0, sampling=SPACING[::-1])
        labels, count = ndimage.label(below > 2.5, ALL)
        seen["cyst"] += [(grown.hu, labels == i) for i in range(1, count + 1)]
    result = {}
    for name, places in seen.items():
        squares, products = [], []
        for values, where in places:
            rest = values - values[where].mean() if where.any() else values
            squares.append(rest[where] ** 2)
            both = where[:, :, 1:] & where[:, :, :-1]
            products.append((rest[:, :, 1:] * rest[:, :, :-1])[both])
        variance = np.concatenate(squares).mean()
        result[name] = np.sqrt(variance), np.concatenate(products).mean() / variance
    assert result["cyst"][0] == pytest.approx(result["liver"][0], rel=0.15)
    assert result["cyst"][1] == pytest.approx(result["liver"][1], abs=0.1)


def test_a_lesion_has_one_size_in_mm_at_any_spacing() -> None:
    """The same draws at three spacings: volume, extents in mm and HU taken away agree."""
    for seed in (1, 2, 3):
        sizes = []
        for spacing in ((1.0, 1.0, 1.0), (0.8, 0.8, 2.5), (1.5, 1.5, 2.0)):
            hu = np.full([round(84 / s) for s in reversed(spacing)], int(LEVEL), np.int16)
            hu[0, 0, :2] = -200, 200  # what the scan can hold
            organ = measure_organ(hu, np.ones(hu.shape, bool), spacing)
            assert organ is not None
            middle = organ.depth > organ.depth.max() - 3  # nothing is cut off there
            organ = replace(organ, from_vessel=np.where(middle, np.inf, 0.1).astype(np.float32))
            grown = grow_lesions(
                hu, organ, spacing, np.random.default_rng(seed), kinds=["metastasis"], count=(1, 1)
            )
            lesion = grown.labels > 0
            extents = [(np.ptp(np.nonzero(lesion)[a]) + 1) * spacing[2 - a] for a in range(3)]
            taken = (LEVEL - grown.hu)[hu == LEVEL].sum() * np.prod(spacing)
            sizes.append([(lesion.sum() * np.prod(spacing)) ** (1 / 3), *extents, taken])
        first, *others = np.array(sizes)
        for other in others:
            assert other[0] == pytest.approx(first[0], rel=0.05)
            assert other[1:4] == pytest.approx(first[1:4], abs=3.5)
            assert other[4] == pytest.approx(first[4], rel=0.15)


def test_sizes_are_log_normal_in_mm() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([draw_diameter(rng, 5.0) for _ in range(4000)])
    assert drawn.min() >= 5 and drawn.max() <= 60
    law = lognorm(0.6, scale=13.0)
    for share in (0.1, 0.5, 0.9):  # of the truncated law, by scipy's own
        expected = law.ppf(law.cdf(5) + share * (law.cdf(60) - law.cdf(5)))
        assert np.quantile(drawn, share) == pytest.approx(expected, rel=0.05)


def test_the_same_seed_grows_the_same_and_nothing_given_is_changed() -> None:
    hu, inside, _, organ = made_liver()
    before = hu.copy()
    a, b, c = (
        grow_lesions(hu, given, SPACING, np.random.default_rng(seed))
        for given, seed in ((inside, 5), (organ, 5), (inside, 6))
    )
    assert np.array_equal(hu, before) and a.hu.dtype == hu.dtype
    assert np.array_equal(a.hu, b.hu) and a.lesions == b.lesions
    assert not np.array_equal(a.hu, c.hu)
    assert a.hu.min() >= hu.min() and a.hu.max() <= hu.max()


def test_lesions_keep_away_from_real_ones() -> None:
    hu, inside, _, _ = made_liver()
    real = np.zeros_like(inside)
    z, y, x = (n // 2 for n in hu.shape)
    real[z - 5 : z + 5, y - 12 : y - 2, x - 20 : x - 5] = True
    organ = measure_organ(hu, inside, SPACING, real)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        grown = grow_lesions(hu, organ, SPACING, rng, count=(5, 5))
        assert grown.lesions and mm_from(real)[grown.labels > 0].min() >= 3
        assert np.array_equal(grown.hu[real], hu[real])


def test_no_room_grows_nothing() -> None:
    hu, inside, _, _ = made_liver()
    for organ in (np.zeros_like(inside), mm_from(~inside) == mm_from(~inside).max()):
        grown = grow_lesions(hu, organ, SPACING, np.random.default_rng(0), count=(2, 2))
        assert grown.lesions == [] and grown.wanted == 2
        assert np.array_equal(grown.hu, hu) and not grown.labels.any()


def test_whole_numbers_stay_whole_and_floats_float() -> None:
    hu, _, _, organ = made_liver()
    grown = grow_lesions(
        hu.astype(np.float32), organ, SPACING, np.random.default_rng(0), count=(1, 1)
    )
    assert grown.hu.dtype == np.float32
    assert (grown.hu[grown.labels > 0] % 1 != 0).any()
