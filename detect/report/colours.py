"""Colours of classes and models: those of the pictures, darkened where they stand on white."""

from converters.core.drawing import CLASS_COLOURS

CONTRAST = 3.0  # of graphical objects against their background, WCAG 2.2 criterion 1.4.11
# four with five colours: twenty lines that differ, any two neighbours for who sees no colours too
DASHES = ("", "6 3", "2 3", "8 3 2 3")


def _hex(colour: tuple[int, int, int], factor: float = 1.0) -> str:
    blue, green, red = (round(part * factor) for part in colour)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _contrast_with_white(colour: str) -> float:
    """Ratio of WCAG 2.2."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 1.05 / (luminance + 0.05)


def _darkened(colour: tuple[int, int, int]) -> str:
    factors = (1 - step / 100 for step in range(100))
    return next(text for f in factors if _contrast_with_white(text := _hex(colour, f)) >= CONTRAST)


ON_DARK = [_hex(colour) for colour in CLASS_COLOURS]
ON_LIGHT = [_darkened(colour) for colour in CLASS_COLOURS]
