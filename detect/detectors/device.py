"""Choose the processor that a network runs on."""

import os

import torch

from converters.core.errors import ParameterError


def choose_device(name: str) -> torch.device:
    """Resolve `auto`, `cpu`, a CUDA index, or a list of them: one for each process.

    Raises:
        InputError: not understood, or a GPU that is not there.
    """
    place = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "auto":
        return torch.device(f"cuda:{place}" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if "," in name:  # `detect.training.distributed` has made just these visible
        if len(name.split(",")) != int(os.environ.get("LOCAL_WORLD_SIZE", "1")):
            raise ParameterError(
                "device", f"`{name}` is not one GPU", "only `detect train` uses several"
            )
        name = str(place)
    if not name.isdigit():
        raise ParameterError("device", f"`{name}` is no device", "use auto, cpu or a GPU's number")
    if int(name) >= torch.cuda.device_count():
        raise ParameterError(
            "device", f"GPU {name} is not there", f"{torch.cuda.device_count()} found; use cpu"
        )
    return torch.device(f"cuda:{name}")
