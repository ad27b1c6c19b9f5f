"""The settings of a training run, their defaults, and published protocols."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    field_validator,
)

from converters.core.errors import ParameterError
from detect.detectors.operating_rule import Rule, parse_rule

# How the LiMT paper trained; AdamW and determinism, which it asks for too, are always on here.
PROTOCOLS: dict[str, dict[str, dict[str, Any]]] = {
    "limt": {
        "ultralytics": {"batch": 32, "lr": 0.01},
        "deim": {"batch": 8, "lr": 8e-4, "weight_decay": 1e-4},
    }
}
_SECONDS = {"h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0}
# A `Rule`, or its spelling, which is also what JSON holds.
ParsedRule = Annotated[
    Rule,
    PlainValidator(lambda value: value if isinstance(value, Rule) else parse_rule(str(value))),
    PlainSerializer(str),
]
LARGEST_SEED = 2**31  # numpy takes 32 bits, and ultralytics adds to what it is given


def parse_duration(text: str) -> float:
    """Read a duration such as `20min`, `90s` or `1h30min`, and return seconds.

    Raises:
        ValueError: it is none, or nothing.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|min|m|s)", text)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not seconds:
        raise ValueError("write for example 20min, 2h or 1h30min")
    return seconds


class TrainSettings(BaseModel):
    """Settings of one training run, the same for every family.

    Attributes:
        epochs: passes over the training slices with a lesion.
        iterations: steps of the optimiser that decide the epochs instead, rounded up to whole ones.
        budget: wall-clock time, such as `20min`, that decides the epochs instead.
        batch: images a step.
        negatives: slices without a lesion that an epoch sees, for each one with; drawn anew for
            every epoch where the dataset has more.
        synthetic: slices with synthetic lesions that an epoch sees, for each one with real ones;
            drawn anew likewise.
        hard_negatives: share of those that are hard ones: next to a lesion, or where the network is
            surest of one when it is asked, after a third and two thirds of the epochs.
        imgsz: side of the square that slices are scaled to, px; a multiple of 32. None: the
            dataset's longest side, rounded up, at most 640. `auto`: as the training lesions need,
            see `image_size`.
        lr: peak learning rate of AdamW. None: the family's own default.
        weight_decay: AdamW's. None: the family's own default.
        warmup_epochs: epochs over which the learning rate rises.
        patience: stop after so many epochs without a better val mAP50, and go back to the best; 0
            never stops early. A training that ends by itself keeps its last epoch. In ultralytics'
            loop, patience begins with the first hit on val.
        seed: of initialisation, order and augmentation.
        device: `auto`, `cpu`, or a CUDA index such as `0`.
        workers: processes that load images; not used on a CPU, where the model is the bottleneck.
        operating_point: rule by which the confidence to freeze is chosen on val; its spelling is
            parsed, see `parse_rule`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(100, ge=1)
    iterations: int | None = Field(None, ge=1)
    budget: str | None = None
    batch: int = Field(16, ge=1)
    negatives: float = Field(1.0, ge=0, le=1e6)
    synthetic: float = Field(1.0, ge=0, le=1e6)
    hard_negatives: float = Field(0.0, ge=0, le=1)
    imgsz: Annotated[int, Field(ge=32, le=4096)] | Literal["auto"] | None = None
    lr: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    weight_decay: float | None = Field(None, ge=0, le=1)
    warmup_epochs: float = Field(3.0, ge=0, allow_inf_nan=False)
    patience: int = Field(100, ge=0)
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    device: str = "auto"
    workers: int = Field(4, ge=0)
    operating_point: ParsedRule = Rule("f1")

    @field_validator("budget")
    @classmethod
    def _is_a_duration(cls, text: str | None) -> str | None:
        if text is not None:
            parse_duration(text)
        return text


def resolve_settings(base: TrainSettings, given: dict[str, Any]) -> TrainSettings:
    """Put what the user gave over the defaults.

    Raises:
        InputError: a value is out of its range, or contradicts another; it names the option.
    """
    length = [name for name in ("epochs", "iterations", "budget") if name in given]
    if len(length) > 1:
        raise ParameterError(length[-1], f"contradicts --{length[0]}", "give one of them")
    try:
        return TrainSettings(**(base.model_dump(exclude_unset=True) | given))
    except ValidationError as error:
        first = error.errors()[0]
        raise ParameterError(
            str(first["loc"][0]), f"`{first['input']}` is refused", first["msg"]
        ) from error


def apply_protocol(settings: TrainSettings, protocol: str, family: str) -> TrainSettings:
    """Fill in the values of a protocol wherever none was asked for.

    Raises:
        InputError: no such protocol, or one that does not train this family.
    """
    asked = settings.model_dump(exclude_unset=True)
    return TrainSettings(**(protocol_settings(protocol, family) | asked))


def protocol_settings(protocol: str, family: str) -> dict[str, Any]:
    """Return the settings of a published protocol for a family.

    Raises:
        InputError: no such protocol, or one that does not train this family.
    """
    families = PROTOCOLS.get(protocol)
    if families is None:
        raise ParameterError(
            "protocol", f"`{protocol}` is no protocol", f"use {', '.join(PROTOCOLS)}"
        )
    if family not in families:
        raise ParameterError(
            "protocol", f"`{protocol}` says nothing of {family} models", "leave it out"
        )
    return families[family]
