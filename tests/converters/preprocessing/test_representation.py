"""Limits and words of a representation, and pictures of a scan that can be worked by hand."""

from typing import Any

import numpy as np
import pytest
from pydantic import ConfigDict, TypeAdapter, ValidationError

from converters.core.errors import InputError
from converters.imaging.volume import Volume
from converters.preprocessing.frame import Region
from converters.preprocessing.pictures import pictures
from converters.preprocessing.representation import (
    LIVER_WINDOWS,
    Adjacent,
    Channels,
    Representation,
    Represented,
    Windows,
    key_path,
)
from converters.preprocessing.windowing import Percentiles, Window

WINDOW = Window(level=127.5, width=255)  # 0…255 as they are


def volume(*planes: int, spacing: tuple[float, float, float] = (1, 1, 2)) -> Volume:
    """Slices of one value each, 3 x 4 pixels."""
    array = np.repeat(np.array(planes, np.int16), 12).reshape(-1, 3, 4)
    return Volume(array, np.diag([*spacing, 1.0]), np.eye(4))


def how(**fields: Any) -> Representation:
    return Representation(**{"window": WINDOW, **fields})


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("margin_mm", (0, 1000), (-0.01, 1000.5)),
        ("spacing_mm", (0.05, 50), (0.049, 50.5)),
        ("channels", ("adjacent:0.001", "adjacent:100"), ("adjacent:0", "adjacent:100.5")),
    ],
)
def test_limits(field: str, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    for value in good:
        how(**{field: value})
    for value in bad:
        with pytest.raises(ValidationError):
            how(**{field: value})


def test_what_is_not_asked_for() -> None:
    plain = how()
    assert (plain.margin_mm, plain.spacing_mm, plain.crop) == (10, None, "none")
    assert plain.modality == "CT"
    assert plain.planes == 1 and plain.shown_window == WINDOW
    assert plain.describe() == "level 127.5, width 255 HU"


def test_three_windows_of_the_liver() -> None:
    named = {k: (w.level, w.width) for k, w in LIVER_WINDOWS.windows.items()}  # type: ignore
    assert named == {"soft tissue": (40, 400), "liver": (60, 200), "wide": (0, 1000)}
    three = how(channels="windows", crop="body", spacing_mm=0.8)
    assert three.planes == 3 and three.shown_window == Window(level=60, width=200)
    assert three.describe() == (
        "soft tissue: level 40, width 400 HU; liver: level 60, width 200 HU; "
        "wide: level 0, width 1000 HU; cropped to the body; pixels of 0.8 mm"
    )
    assert how(channels="adjacent:2.5").describe() == (
        "level 127.5, width 255 HU; with the slices 2.5 mm below and above"
    )


def test_three_windows_and_no_other_number() -> None:
    kinds: TypeAdapter[Any] = TypeAdapter(Channels)
    window = {"level": 1, "width": 2}
    parsed = kinds.validate_python({"windows": dict.fromkeys("abc", window)})
    assert isinstance(parsed, Windows) and kinds.validate_python(parsed) == parsed
    assert kinds.validate_python(Adjacent(adjacent_mm=2)) == Adjacent(adjacent_mm=2)
    for names in ("ab", "abcd"):
        with pytest.raises(ValidationError):
            kinds.validate_python({"windows": dict.fromkeys(names, window)})
    for wrong in ("grey", "adjacent", "windows:2", {"windows": {}}, 3, None):
        with pytest.raises(ValidationError):
            kinds.validate_python(wrong)


class Named(Represented):
    model_config = ConfigDict(extra="forbid")

    name: str


def test_on_disk_a_representation_lies_among_the_keys_of_what_has_it() -> None:
    on_disk = {"name": "a", "crop": "body", "window": {"level": 127.5, "width": 255}}
    named = Named.model_validate(on_disk)
    assert named == Named(representation=how(crop="body"), name="a")
    assert Named.model_validate(named) is named
    flat = named.model_dump()
    assert list(flat) == [*Representation.model_fields, "name"]
    assert (flat["crop"], flat["window"], flat["name"]) == ("body", on_disk["window"], "a")
    assert Named.model_validate(flat) == named
    for wrong in (3, None, [], {"name": "a"}, {**on_disk, "crp": 1},
                  {"name": "a", "representation": {"window": on_disk["window"]}}):  # fmt: skip
        with pytest.raises(ValidationError):
            Named.model_validate(wrong)


def test_where_an_error_lies_is_told_in_the_keys_of_the_file() -> None:
    assert key_path(("spec", "representation", "window", 1)) == ["spec", "window", "1"]
    assert key_path(("representation", "representation")) == ["representation"]
    assert key_path(("name",)) == ["name"]


def greys(scan: Volume, **fields: Any) -> list[list[int]]:
    """Channels of the first pixel of each picture."""
    scan_pictures = pictures(scan, how(**fields), "scan")
    assert len(scan_pictures) == len(scan.array)
    return [np.atleast_1d(picture[0, 0]).tolist() for picture in scan_pictures]


def test_neighbours_by_hand() -> None:
    scan = volume(0, 100, 240)  # slices 2 mm apart
    assert greys(scan) == [[0], [100], [240]]
    assert greys(scan, channels="adjacent:2") == [[0, 0, 100], [0, 100, 240], [100, 240, 240]]
    assert greys(scan, channels="adjacent:3") == [[0, 0, 170], [0, 100, 240], [50, 240, 240]]
    # a quarter of a slice: 100 - 25 and 100 + 35
    assert greys(scan, channels="adjacent:0.5")[1] == [75, 100, 135]


def test_a_step_within_a_thousandth_of_a_slice_is_whole() -> None:
    """Slices of 0, 10000 and 20000: a thousandth of the way between two is 10."""
    scan = volume(0, 10000, 20000, spacing=(1, 1, 1))
    window = Window(level=10000, width=510)  # two values a grey
    fields = {"window": window, "channels": "adjacent:0.0009"}
    assert greys(scan, **fields)[1] == [128, 128, 128]
    fields["channels"] = "adjacent:0.0012"  # 12 below and above are 6 greys: 121.5 and 133.5
    assert greys(scan, **fields)[1] == [122, 128, 134]
    assert greys(scan, channels="adjacent:0.001")[0] == [0, 0, 10]


def test_the_same_slice_in_three_windows() -> None:
    windows = {"a": Window(level=100, width=200), "b": WINDOW, "c": Window(level=0, width=510)}
    # 100: half of a's 255, rounded to even; 100 as it is; 100 + 255 of 510
    assert greys(volume(0, 100, 240), channels=Windows(windows=windows))[1] == [128, 100, 178]


def test_organ_and_margin() -> None:
    scan = volume(*range(8), spacing=(0.5, 1, 2))
    organ = Region(1, 1, 2, 2)
    frame = pictures(scan, how(crop="organ", margin_mm=1), "scan", organ).frame
    assert frame.region == Region(0, 0, 4, 3)  # 2 columns, 1 row
    frame = pictures(scan, how(crop="organ", margin_mm=0.5), "scan", organ).frame
    assert frame.region == Region(0, 0, 3, 3)
    assert pictures(scan, how(crop="organ", margin_mm=0), "scan", organ).frame.region == organ
    assert pictures(scan, how(margin_mm=0), "scan", organ).frame.region == Region(0, 0, 4, 3)
    with pytest.raises(InputError, match="no organ to crop to"):
        pictures(scan, how(crop="organ"), "scan")


def test_a_body_to_crop_to_and_to_rank_by() -> None:
    """Voxels of 10 mm are taken as they are: the body is rows 1 and 2, columns 1 to 3."""
    array = np.full((2, 6, 7), -1000, np.int16)
    array[:, 1:3, 1:4] = np.arange(12).reshape(2, 2, 3) * 10
    scan = Volume(array, np.diag([10.0, 10, 10, 1]), np.eye(4))
    organ = Region(5, 5, 6, 6)
    cropped = pictures(scan, how(crop="body", margin_mm=10), "scan", organ)
    assert cropped.frame.region == Region(0, 0, 5, 4)
    assert cropped.channels == ((0, WINDOW),)
    ranked = pictures(scan, how(window=Percentiles(percentiles=(0, 100))), "scan")
    assert ranked.frame.region == Region(0, 0, 7, 6)
    assert ranked.channels == ((0, Window(level=55, width=110)),)
    both = how(window=Percentiles(percentiles=(0, 100)), crop="organ", margin_mm=0)
    assert pictures(scan, both, "scan", organ).frame.region == organ
