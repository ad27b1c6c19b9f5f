"""HU to grey, by hand."""

import numpy as np

from converters.windowing import Window


def test_ends_middle_and_rounding() -> None:
    hu = np.array([-500, -41, -40, 60, 160, 161, 3000], np.int16)
    assert Window(level=60, width=200).apply(hu).tolist() == [0, 0, 0, 128, 255, 255, 255]


def test_the_table_is_the_formula() -> None:
    hu = np.arange(-32768, 32768).astype(np.int16)
    for window in (Window(level=60, width=200), Window(level=-600.5, width=1501)):
        as_float = window.apply(hu.astype(np.float32))
        assert (window.apply(hu) == as_float).all()
