"""Draw random fields: unevenness in mm, and noise that looks like that of a scan."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.interpolate import CubicSpline

from detect.synthesis.patch import Array

_LAGS = (3, 8, 8)  # voxels over which a scan's noise may hang together


def uneven(
    rng: np.random.Generator, axes: tuple[Array, Array, Array], cell: float, reach: float
) -> Array:
    """Draw a field of mean 0 and standard deviation 1 that varies over about `cell` mm.

    White noise on a coarse grid, interpolated cubically. What is drawn depends on `cell` and
    `reach` alone, so that a finer scan shows the same field.

    Args:
        rng: random numbers.
        axes: mm along each axis from the middle of the field.
        cell: mm between the knots.
        reach: half the extent in mm; beyond it the field goes on as at its end.
    """
    half = int(np.ceil(reach / cell)) + 1
    knots = np.arange(-half, half + 1) * cell
    field = rng.standard_normal((len(knots),) * 3)
    for axis, points in enumerate(axes):
        at = np.clip(points, knots[0], knots[-1])
        field = CubicSpline(knots, field, axis=axis)(at)
    # between knots interpolation averages: a cubic spline keeps about 3/4 of the deviation an axis
    return np.asarray(field / 0.6, np.float32)


@dataclass(frozen=True)
class Noise:
    """Hold the strength and the correlation of an organ's noise.

    Attributes:
        correlation: ``(2 lags + 1, …)`` over slices, rows, columns; 1 in the middle.
        sigma: HU.
    """

    correlation: Array
    sigma: float

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Draw such noise of standard deviation 1 on a block of voxels."""
        sizes = [
            fft.next_fast_len(max(n, lags) + lags, real=True)
            for n, lags in zip(shape, self.correlation.shape, strict=True)
        ]
        kernel = np.zeros(sizes, np.float32)
        kernel[tuple(slice(0, n) for n in self.correlation.shape)] = self.correlation
        kernel = np.roll(kernel, [-(n // 2) for n in self.correlation.shape], axis=(0, 1, 2))
        power = np.maximum(fft.rfftn(kernel).real, 0)  # an estimate may dip below
        white = fft.rfftn(rng.standard_normal(sizes, dtype=np.float32))
        noise = fft.irfftn(white * np.sqrt(power / power.mean()), s=sizes)
        return np.asarray(noise[tuple(slice(0, n) for n in shape)], np.float32)


def measure_noise(residual: Array, where: NDArray[np.bool_]) -> Noise:
    """Measure noise where it can be seen.

    Args:
        residual: ``(slices, rows, columns)`` HU from which the mean is taken away.
        where: the voxels that count.
    """
    values = residual[where]
    if len(values) < 2:
        return Noise(np.ones((1, 1, 1), np.float32), 0.0)
    sigma = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    counted = np.where(where, np.clip(residual - np.median(values), -3 * sigma, 3 * sigma), 0)
    lags = tuple(min(lag, n - 1) for lag, n in zip(_LAGS, where.shape, strict=True))
    sizes = [
        fft.next_fast_len(n + lag, real=True) for n, lag in zip(where.shape, lags, strict=True)
    ]
    products = _correlate(counted.astype(np.float32), sizes, lags)
    pairs = _correlate(where.astype(np.float32), sizes, lags)
    middle = tuple(lags)
    if products[middle] <= 0:
        return Noise(np.ones((1, 1, 1), np.float32), sigma)
    correlation = products / np.maximum(pairs, 1) / (products[middle] / pairs[middle])
    for axis, lag in enumerate(lags):  # far lags are estimated badly and matter little
        taper = np.cos(np.pi / 2 * np.arange(-lag, lag + 1) / (lag + 1)) ** 2
        correlation = correlation * np.expand_dims(
            taper, [other for other in range(3) if other != axis]
        )
    return Noise(correlation.astype(np.float32), sigma)


def _correlate(values: Array, sizes: list[int], lags: tuple[int, ...]) -> Array:
    spectrum = fft.rfftn(values, s=sizes)
    whole = fft.irfftn(np.abs(spectrum) ** 2, s=sizes)
    whole = np.roll(whole, lags, axis=(0, 1, 2))
    return np.asarray(whole[tuple(slice(0, 2 * lag + 1) for lag in lags)], np.float32)
