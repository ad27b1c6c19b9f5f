"""Rescale stored values to HU."""

from pydantic import BaseModel, ConfigDict, Field


class Rescale(BaseModel):
    """Map the grey of a picture to HU, in DICOM's terms: HU = slope * grey + intercept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slope: float = Field(1.0, gt=0, allow_inf_nan=False)
    intercept: float = Field(0.0, allow_inf_nan=False)
