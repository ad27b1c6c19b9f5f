"""Convert values to those that JSON knows."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def to_jsonable(value: Any) -> Any:
    """Convert dataclasses, arrays and numpy's numbers; NaN and infinity become None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: to_jsonable(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return to_jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def name_range_ends(row: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the keys `low` and `high` of a row to `from` and `to`, which come first."""
    rest = {key: value for key, value in row.items() if key not in ("low", "high")}
    return {"from": row["low"], "to": row["high"], **rest}
