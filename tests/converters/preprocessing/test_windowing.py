"""HU to grey, by hand."""

import numpy as np
import pytest
from pydantic import ValidationError

from converters.preprocessing.windowing import Percentiles, Window


def test_ends_middle_and_rounding() -> None:
    hu = np.array([-500, -41, -40, 60, 160, 161, 3000], np.int16)
    assert Window(level=60, width=200).apply(hu).tolist() == [0, 0, 0, 128, 255, 255, 255]


def test_the_table_is_the_formula() -> None:
    hu = np.arange(-32768, 32768).astype(np.int16)
    for window in (Window(level=60, width=200), Window(level=-600.5, width=1501)):
        as_float = window.apply(hu.astype(np.float32))
        assert (window.apply(hu) == as_float).all()


def test_percentiles_are_numpys_and_cannot_be_empty() -> None:
    values = np.random.default_rng(0).gamma(2.0, 90.0, 5000).astype(np.float32)
    window = Percentiles(percentiles=(2, 99)).of(values)
    grey = window.apply(np.percentile(values, [2, 99]))
    assert grey.tolist() == [0, 255]
    assert Percentiles(percentiles=(2, 99)).of(np.full(9, 7.0)).apply(np.array([7.0])) == 128
    for wrong in ((99, 1), (5, 5), (-1, 50), (1, 101)):
        with pytest.raises(ValidationError):
            Percentiles(percentiles=wrong)


@pytest.mark.parametrize("shape", [(), (0,), (7,), (4, 0), (5, 6), (2, 5, 6), (2, 3, 4, 5)])
def test_any_shape_and_order_of_voxels(shape: tuple[int, ...]) -> None:
    hu = np.random.default_rng(0).integers(-300, 300, shape).astype(np.int16)
    for view in (hu, hu.T, hu[..., ::-1] if shape else hu):
        grey = Window(level=60, width=200).apply(view)
        assert grey.shape == view.shape
        assert (grey == Window(level=60, width=200).apply(view.astype(np.float32))).all()
