"""Describe the pictures that datasets hold and that models see."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from converters.preprocessing.windowing import AnyWindow, Window


class Adjacent(BaseModel):
    """Three channels: the slice and its neighbours at a distance.

    Attributes:
        adjacent_mm: of the neighbours, in mm along the slice axis; between two slices the values
            are interpolated linearly, beyond the last slice they are that slice's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    adjacent_mm: float = Field(gt=0, le=100, allow_inf_nan=False)


class Windows(BaseModel):
    """Three channels: the slice in three windows, by name. The second is the one people are shown.

    Attributes:
        windows: name → window, in the order of the channels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    windows: dict[str, AnyWindow] = Field(min_length=3, max_length=3)


LIVER_WINDOWS = Windows(
    windows={
        "soft tissue": Window(level=40, width=400),
        "liver": Window(level=60, width=200),
        "wide": Window(level=0, width=1000),  # from fat and gas to bone
    }
)


def _parse_channels(value: Any) -> Any:
    """Read the short forms `gray`, `adjacent:MM` and `windows`."""
    if not isinstance(value, str):
        return value
    name, _, step = value.partition(":")
    if name == "adjacent":
        return {"adjacent_mm": step}
    if value == "windows":
        return LIVER_WINDOWS
    if value != "gray":
        raise ValueError(f"`{value}` is none of gray, adjacent:MM and windows")
    return value


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "Gray"
    named = isinstance(value, Windows) or (isinstance(value, dict) and "windows" in value)
    return "Windows" if named else "Adjacent"


Channels = Annotated[
    Annotated[Literal["gray"], Tag("Gray")]
    | Annotated[Adjacent, Tag("Adjacent")]
    | Annotated[Windows, Tag("Windows")],
    Discriminator(_kind),
    BeforeValidator(_parse_channels),
]


class Representation(BaseModel):
    """Describe the pictures that are made of a scan for a detector.

    A recipe, and so a dataset, and a model each have one, and inference makes pictures by the
    model's.

    Attributes:
        window: of the grey values; `windows` channels bring their own.
        channels: `gray`, `adjacent:MM` or `windows` (or three others, see `Windows`).
        crop: `none`; `body`: the rectangle that holds the body on every slice, found from the scan
            alone; `organ`: the one that holds the mask's organs and lesions, which only a scan with
            a mask has.
        margin_mm: around body or organ.
        spacing_mm: pixel size after in-plane resampling; None: the scan's own pixels.
        modality: DICOM's code; says how the body is found.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: AnyWindow
    channels: Channels = "gray"
    crop: Literal["none", "body", "organ"] = "none"
    margin_mm: float = Field(10.0, ge=0, le=1000)
    spacing_mm: float | None = Field(None, ge=0.05, le=50)
    modality: str = "CT"

    def describe(self) -> str:
        """Describe the pictures for people, in one line."""
        parts = [str(self.window)]
        if isinstance(self.channels, Windows):
            parts = [f"{name}: {window}" for name, window in self.channels.windows.items()]
        elif isinstance(self.channels, Adjacent):
            parts.append(f"with the slices {self.channels.adjacent_mm:g} mm below and above")
        if self.crop != "none":
            parts.append(f"cropped to the {self.crop}")
        if self.spacing_mm is not None:
            parts.append(f"pixels of {self.spacing_mm:g} mm")
        return "; ".join(parts)

    @property
    def shown_window(self) -> AnyWindow:
        """Return the window of the channel that people are shown, the middle one."""
        if isinstance(self.channels, Windows):
            return list(self.channels.windows.values())[1]
        return self.window

    @property
    def planes(self) -> int:
        """Return the number of channels of a picture, 1 or 3."""
        return 1 if self.channels == "gray" else 3


class Represented(BaseModel):
    """Hold a representation whose keys lie among the model's own on disk, before them.

    `{"window": …, "name": …}` in a file is `Represented(representation=…, name=…)` in Python.
    """

    representation: Representation

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        if not isinstance(data, dict) or isinstance(data.get("representation"), Representation):
            return data
        # a key `representation` is none of a file's: within, it is refused as any unknown key
        keys = {*Representation.model_fields, "representation"}
        parts: dict[str, Any] = {key: data[key] for key in data.keys() - keys}
        return {"representation": {key: data[key] for key in data.keys() & keys}, **parts}

    @model_serializer(mode="wrap")
    def _lay_flat(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        seen: dict[str, Any] = content.pop("representation")
        return seen | content


def key_path(location: Sequence[int | str]) -> list[str]:
    """Return where pydantic found an error as the keys of the file, without `representation`.

    >>> key_path(("spec", "representation", "window"))
    ['spec', 'window']
    """
    parts = [str(part) for part in location]
    if "representation" in parts:
        parts.remove("representation")  # the first alone: a second is a wrong key of the file
    return parts
