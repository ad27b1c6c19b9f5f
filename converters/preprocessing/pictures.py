"""Make the pictures of a scan, in the same way for conversion and for inference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError
from converters.imaging.volume import Volume
from converters.preprocessing.body import Body, find_body
from converters.preprocessing.frame import Frame, Region
from converters.preprocessing.representation import Adjacent, Representation, Windows
from converters.preprocessing.windowing import AnyWindow, Percentiles, Window

SAME_SLICE = 1e-3  # slices; a step this close to whole ones is whole: headers round their spacing


@dataclass(frozen=True)
class Pictures(Sequence[NDArray[np.uint8]]):
    """Make the pictures of a scan when they are asked for, with one slice in memory at a time.

    ``pictures[z]`` is that of canonical slice z: ``(height, width)`` grey, or
    ``(height, width, 3)`` with the channels in the order of the representation: (z - step, z,
    z + step), or the three windows as they are listed. A PNG holds them as red, green, blue in
    this order.

    Attributes:
        volume: the scan.
        frame: where the pictures lie on its slices.
        channels: of each channel the distance in slices and the window.
    """

    volume: Volume
    frame: Frame
    channels: tuple[tuple[float, Window], ...]

    def __len__(self) -> int:
        """Count the slices."""
        return len(self.volume.array)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Make the pictures one after the other."""
        return (self[z] for z in range(len(self)))

    def __getitem__(self, z: int) -> NDArray[np.uint8]:  # type: ignore[override]  # no slices
        """Make one picture."""
        planes = {step: self.frame.cut(self._plane(z + step)) for step, _ in self.channels}
        greys = [window.apply(planes[step]) for step, window in self.channels]
        return greys[0] if len(greys) == 1 else np.stack(greys, axis=-1)

    def _plane(self, place: float) -> NDArray[np.generic]:
        """Return the values at a place along the slice axis, interpolated in HU between slices."""
        place = min(max(place, 0.0), len(self) - 1.0)
        nearest = round(place)
        if abs(place - nearest) < SAME_SLICE:
            return np.asarray(self.volume.array[nearest])
        below, share = self.volume.array[floor(place) : floor(place) + 2], place - floor(place)
        mixed = below[0] * np.float32(1 - share) + below[1] * np.float32(share)
        return np.asarray(mixed, np.float32)


def pictures(
    volume: Volume, representation: Representation, source: Path | str, organ: Region | None = None
) -> Pictures:
    """Prepare the pictures of a scan: find its body, its frame and its windows.

    Args:
        volume: the scan.
        representation: how its pictures are made.
        source: of the scan; named in errors.
        organ: holds the organs and lesions of its mask, where there is one.

    Raises:
        InputError: an organ crop without an organ, or pictures of no sensible size.
    """
    rules: list[tuple[float, AnyWindow]] = [(0.0, representation.window)]
    if isinstance(representation.channels, Adjacent):
        step = representation.channels.adjacent_mm / volume.spacing[2]
        rules = [(place, representation.window) for place in (-step, 0.0, step)]
    elif isinstance(representation.channels, Windows):
        rules = [(0.0, window) for window in representation.channels.windows.values()]
    ranked = any(isinstance(window, Percentiles) for _, window in rules)
    shape, body = volume.array.shape, None
    if ranked or representation.crop == "body":
        body = find_body(volume, representation.modality)
    region = Region(0, 0, shape[2], shape[1])
    if representation.crop == "organ" and organ is None:
        raise InputError(
            source,
            "shows no organ to crop to in its mask",
            "remove the scan, or convert with --crop body",
        )
    around = body.region if body and representation.crop == "body" else organ
    if representation.crop != "none" and around is not None:
        region = around.grown(representation.margin_mm, volume.spacing, shape)
    return Pictures(
        volume,
        Frame.over(region, volume.spacing, representation.spacing_mm, source),
        tuple((step, _settled(window, body)) for step, window in rules),
    )


def _settled(window: AnyWindow, body: Body | None) -> Window:
    if isinstance(window, Window):
        return window
    assert body is not None  # noqa: S101  (found above for any window that needs it)
    return window.of(body.values)
