"""HU to grey, by hand."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from converters.preprocessing.windowing import AnyWindow, Percentiles, Window


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


def test_limits_and_words() -> None:
    assert str(Window(level=-40.5, width=0.5)) == "level -40.5, width 0.5 HU"
    assert str(Percentiles(percentiles=(0, 100))) == "percentiles 0 to 100 of the body"
    for level, width in ((0, 0), (0, -1), (0, np.inf), (np.nan, 1)):
        with pytest.raises(ValidationError):
            Window(level=level, width=width)
    for wrong in ((-0.01, 50), (50, 100.01), (100.5, 100.7), (50, 50)):
        with pytest.raises(ValidationError):
            Percentiles(percentiles=wrong)


def test_a_window_over_percentiles_by_hand() -> None:
    assert Percentiles(percentiles=(10, 90)).of(np.arange(101)) == Window(level=50, width=80)
    assert Percentiles(percentiles=(0, 25)).of(np.array([3, 7])) == Window(level=3.5, width=1)
    assert Percentiles(percentiles=(10, 90)).of(np.full(5, 7)) == Window(level=7, width=1)


def test_a_window_is_told_from_percentiles_by_its_keys() -> None:
    kinds: TypeAdapter[AnyWindow] = TypeAdapter(AnyWindow)
    for window in (Window(level=1, width=2), Percentiles(percentiles=(1, 99))):
        assert kinds.validate_python(window) == window
        assert kinds.validate_python(window.model_dump()) == window
    for wrong in ({}, 3, None, "percentiles", {"percentiles": (1, 99), "level": 1}):
        with pytest.raises(ValidationError):
            kinds.validate_python(wrong)


def test_halves_go_to_the_even_grey_and_no_grey_is_beyond_the_ends() -> None:
    hu = np.array([-1e9, 0, 1, 2, 3, 4, 509, 510, 511, 1e9])
    assert Window(level=255, width=510).apply(hu).tolist() == [
        0, 0, 0, 1, 2, 2, 254, 255, 255, 255,
    ]  # fmt: skip
