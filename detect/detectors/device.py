"""Which processor to use."""

import torch

from converters.errors import InputError


def choose_device(name: str) -> torch.device:
    """Resolve `auto`, `cpu` or a CUDA index.

    Raises:
        InputError: not understood, or a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if not name.isdigit():
        raise InputError("--device", f"`{name}` is no device", "use auto, cpu or a GPU's number")
    if int(name) >= torch.cuda.device_count():
        raise InputError(
            "--device", f"GPU {name} is not there", f"{torch.cuda.device_count()} found; use cpu"
        )
    return torch.device(f"cuda:{name}")
