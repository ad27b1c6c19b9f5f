"""Numbers as JSON knows them."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Turn dataclasses, arrays and numpy's numbers into JSON's; None for NaN and infinity."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def from_to(row: Mapping[str, Any]) -> dict[str, Any]:
    """Name the ends of a range as the files do; no upper end is infinity, which becomes None."""
    rest = {key: value for key, value in row.items() if key not in ("low", "high")}
    return {"from": row["low"], "to": row["high"], **rest}
