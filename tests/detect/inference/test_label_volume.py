"""The label volume holds every lesion's number, in the smallest type."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from converters.core.boxes import Boxes
from converters.imaging.nifti import write_nifti
from converters.imaging.read import read_volume
from detect.inference.label_volume import write_label_volume
from detect.linking.linking import link


@pytest.mark.parametrize(("lesions", "kind"), [(255, np.uint8), (256, np.uint16)])
def test_the_type_holds_the_numbers(tmp_path: Path, lesions: int, kind: type) -> None:
    write_nifti(tmp_path / "scan.nii", np.zeros((1, 4, 512), np.int16), np.eye(4))
    volume = read_volume(tmp_path / "scan.nii")
    left = 2.0 * np.arange(lesions)
    xyxy = np.stack([left, 0 * left, left + 1, 0 * left + 1], axis=1)
    boxes = [Boxes(xyxy, np.zeros(lesions, np.int64), np.linspace(1, 0.5, lesions))]
    write_label_volume(tmp_path / "labels.nii.gz", volume, boxes, link(boxes))
    labels = np.asanyarray(nib.load(tmp_path / "labels.nii.gz").dataobj)
    assert labels.dtype == kind
    assert np.unique(labels).tolist() == list(range(lesions + 1))
