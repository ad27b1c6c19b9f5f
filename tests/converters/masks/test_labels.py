"""The bounding block and the labels of a mask, against numpy over the whole mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from converters.masks.labels import classes_of, foreground, numbers

DTYPES = (np.uint8, np.uint16, np.uint32)


def masks(dtype: type) -> st.SearchStrategy[np.ndarray]:
    high = min(np.iinfo(dtype).max, 70_000)
    values = st.sampled_from([0, 0, 0, 0, 0, 1, 2, 200, high])
    return arrays(dtype, (4, 6, 7), elements=values, fill=st.just(dtype(0)))


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_block_holds_all_and_is_the_smallest(dtype: type, data: st.DataObject) -> None:
    mask = data.draw(masks(dtype))
    block = foreground(mask)
    assert np.count_nonzero(mask[block]) == np.count_nonzero(mask)
    for axis, place in enumerate(block):
        indices = np.argwhere(mask)[:, axis]
        expected = (indices.min(), indices.max() + 1) if len(indices) else (0, 0)
        assert (place.start, place.stop) == expected


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_numbers_and_classes(dtype: type, data: st.DataObject) -> None:
    mask = data.draw(masks(dtype))
    mask = mask[:, :, :: data.draw(st.sampled_from([1, -1, 2]))]  # strides of all kinds
    assert numbers(mask) == set(np.unique(mask).tolist()) - {0}
    for classes in ({200: 0, 1: 1, 999: 0}, {}, {k: k - 1 for k in range(1, 300)}):
        class_map = classes_of(mask, classes)
        expected = [classes[v] + 1 if v in classes else 0 for v in mask.ravel().tolist()]
        assert class_map.ravel().tolist() == expected and class_map.shape == mask.shape
