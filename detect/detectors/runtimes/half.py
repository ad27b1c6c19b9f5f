"""Half precision on GPUs: the network by autocast, what turns its outputs into boxes in float32.

float16 and not bfloat16: with eleven bits of mantissa against eight its boxes lie nearer to those
of float32 (`docs/results.md`), and GPUs have been fast at it since 2017. bfloat16 has more range;
the rare batch whose values leave that of float16 runs again in float32, see `TorchRuntime`.
"""

from collections.abc import Callable
from typing import Any

import torch


def half_on(device: torch.device) -> torch.dtype | None:
    """Return the precision to predict in: float16 on a GPU, None (float32) on a CPU."""
    return torch.float16 if device.type == "cuda" else None


def keep_exact(owner: Any, *names: str) -> None:
    """Let methods of a network, `forward` where none are named, run in float32 within autocast.

    Half precision knows a place of 500 px to a quarter of a pixel (bfloat16: to two), so that boxes
    must not be added up in it.
    """
    for name in names or ("forward",):
        setattr(owner, name, _exact(getattr(owner, name)))


def _exact(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = _floats(args), _floats(kwargs)
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return function(*args, **kwargs)

    return run


def _floats(given: Any) -> Any:
    """Turn half tensors, however deep in lists and dictionaries, into float32."""
    if isinstance(given, torch.Tensor):
        return given.float() if given.dtype in (torch.float16, torch.bfloat16) else given
    if isinstance(given, list | tuple):
        return type(given)(_floats(value) for value in given)
    if isinstance(given, dict):
        return {key: _floats(value) for key, value in given.items()}
    return given
