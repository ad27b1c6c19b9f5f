"""Compare a scan with the ranges of the scans that a model was trained on.

A detector does not tell that a scan is unlike those it learned from. Its bundle therefore keeps the
ranges of its training cases, and every output warns of a scan outside them.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from converters.dataset.manifest import CaseEntry
from converters.imaging.dicom.body_parts import contradict
from converters.imaging.volume import Volume
from converters.preprocessing.representation import Adjacent, Representation, Windows
from converters.preprocessing.value_range import value_range
from converters.preprocessing.windowing import Window

SPACING_FACTOR = 1.2
"""Factor by which a spacing may lie beyond the range: training varies sizes by more."""

VALUES_SHARE = 0.25
"""Share of the narrowest range of training values by which a percentile may lie beyond theirs."""


class Range(BaseModel):
    """A range from the lowest to the highest value of the training cases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"{self.low:g} is above {self.high:g}")
        return self

    @classmethod
    def of(cls, values: Iterable[float]) -> "Range":
        """Return the range of some values."""
        listed = list(values)
        return cls(low=min(listed), high=max(listed))

    def __str__(self) -> str:
        """Format the range for people: `0.6 to 0.98`."""
        ends = [f"{end:.4g}" for end in (self.low, self.high)]
        return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


class TrainedOn(BaseModel):
    """The scans that a model was trained on; modality and window are the representation's.

    Attributes:
        cases: how many.
        pixel_mm: spacing in the axial plane, along columns and rows.
        slice_mm: distance from slice to slice. A slice's thickness is another matter, and most
            formats do not state it.
        low_hu, high_hu: 1st and 99th percentile of each scan's values (`value_range`); None: not
            known, or not CT.
        body_parts: in DICOM's terms; empty: not known, or various.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cases: int = Field(ge=1)
    pixel_mm: Range
    slice_mm: Range
    low_hu: Range | None = None
    high_hu: Range | None = None
    body_parts: list[str] = Field(default_factory=list)

    @property
    def unknown(self) -> list[str]:
        """List the properties that cannot be checked."""
        listed = {"range of values": self.low_hu, "body part": self.body_parts}
        return [name for name, known in listed.items() if not known]


def trained_on(cases: Sequence[CaseEntry], body_parts: Sequence[str]) -> TrainedOn | None:
    """Summarise the training cases; None where the dataset describes none of them.

    Args:
        cases: of the dataset's manifest.
        body_parts: what they show, where that is known.
    """
    if not cases:
        return None
    values = [case.value_range for case in cases if case.value_range is not None]
    known = len(values) == len(cases)  # a part of them would be too narrow a range
    return TrainedOn(
        cases=len(cases),
        pixel_mm=Range.of(size for case in cases for size in case.spacing_mm[:2]),
        slice_mm=Range.of(case.spacing_mm[2] for case in cases),
        low_hu=Range.of(low for low, _ in values) if known else None,
        high_hu=Range.of(high for _, high in values) if known else None,
        body_parts=list(body_parts),
    )


def warnings_for(
    volume: Volume, scope: TrainedOn | None, representation: Representation
) -> list[str]:
    """List how a scan differs from those a model was trained on, a line each.

    Args:
        volume: the scan.
        scope: of the model; None: it does not say, and only what the pictures need is checked.
        representation: how its pictures are made.
    """
    warnings = []
    if scope is not None:
        *pixel, between = volume.spacing
        if any(_beyond(size, scope.pixel_mm) for size in pixel):
            sizes = " x ".join(f"{size:.3g}" for size in pixel)
            warnings.append(f"pixels of {sizes} mm; the model was trained on {scope.pixel_mm} mm")
        if len(volume.array) > 1 and _beyond(between, scope.slice_mm):
            warnings.append(
                f"slices {between:.3g} mm apart; the model was trained on {scope.slice_mm} mm"
            )
        warnings += _values(volume, scope, representation)
        if contradict(volume.body_part, scope.body_parts):
            warnings.append(
                f"the header says {volume.body_part}; the model was trained on"
                f" {', '.join(scope.body_parts)}"
            )
    if isinstance(representation.channels, Adjacent):
        step, extent = representation.channels.adjacent_mm, len(volume.array) - 1
        if extent * volume.spacing[2] < 2 * step:
            warnings.append(
                f"too few slices ({extent + 1}) for neighbours {step:g} mm below and above, which"
                " the model looks at"
            )
    return warnings


def _beyond(size: float, known: Range) -> bool:
    return not known.low / SPACING_FACTOR <= size <= known.high * SPACING_FACTOR


def _values(volume: Volume, scope: TrainedOn, representation: Representation) -> list[str]:
    """Compare the percentiles; what is further out than a window's ends looks the same."""
    if scope.low_hu is None or scope.high_hu is None:
        return []
    low, high = value_range(volume)
    black, white = _window_ends(representation)
    slack = VALUES_SHARE * max(scope.high_hu.low - scope.low_hu.high, 0)
    odd = (
        low > scope.low_hu.high + slack  # no air
        or high < scope.high_hu.low - slack  # nothing as bright as tissue
        or (low < scope.low_hu.low - slack and scope.low_hu.low > black)
        or (high > scope.high_hu.high + slack and scope.high_hu.high < white)
    )
    if not odd:
        return []
    return [
        f"the 1st and 99th percentile of its values are {low:.4g} and {high:.4g}, of the model's"
        f" training scans {scope.low_hu} and {scope.high_hu} HU: perhaps no HU, or clipped"
    ]


def _window_ends(representation: Representation) -> tuple[float, float]:
    """Return the ends that every fixed window shares; infinite where a window follows the scan."""
    channels = representation.channels
    windows = (
        channels.windows.values() if isinstance(channels, Windows) else [representation.window]
    )
    fixed = [window for window in windows if isinstance(window, Window)]
    if len(fixed) < len(windows):
        return -math.inf, math.inf
    return (
        min(window.level - window.width / 2 for window in fixed),
        max(window.level + window.width / 2 for window in fixed),
    )
