"""Build ultralytics' networks, and load and save their tensors without its checkpoints."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, torch_safe_load

from converters.atomic import replacing
from converters.errors import InputError
from detect.model_card import Parameters

SAME_ARCHITECTURE = 0.7  # share of tensors that must fit; another class count still leaves 0.9
_UNREADABLE = (
    OSError, SafetensorError, UnpicklingError, EOFError, ImportError,
    RuntimeError, LookupError, AttributeError, ValueError, AssertionError,
)  # fmt: skip


def is_rtdetr(model: str) -> bool:
    """Whether a model name is one of RT-DETR's: other losses, no NMS, stretched input."""
    return model.startswith("rtdetr")


def build_network(model: str, classes: int) -> torch.nn.Module:
    """Build a network with fresh weights from the definition that ultralytics ships."""
    kind: Any = RTDETRDetectionModel if is_rtdetr(model) else DetectionModel
    return cast(torch.nn.Module, kind(f"{model}.yaml", nc=classes, ch=3, verbose=False))


def count_parameters(model: str, classes: int) -> Parameters:
    """Count parameters of a built network before and after fusing; nothing is looked up."""
    network: Any = build_network(model, classes)
    unfused = sum(p.numel() for p in network.parameters())
    fused = sum(p.numel() for p in network.fuse(verbose=False).parameters())
    return Parameters(unfused=unfused, fused=fused)


def read_state(path: Path, trust: bool) -> dict[str, torch.Tensor]:
    """Read the tensors of a weight file.

    Args:
        path: `.safetensors`, or an ultralytics `.pt`.
        trust: unpickle the `.pt` in full. Without it only tensors and the network classes of torch
            and ultralytics are rebuilt, and anything else in the file is refused.

    Raises:
        InputError: unreadable, or not to be trusted.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        if path.suffix != ".pt":
            raise InputError(path, "is neither .safetensors nor .pt", "give a weight file")
        # absolute: a bare name that it knows, if damaged, it would delete and download anew
        checkpoint, _ = torch_safe_load(path.absolute(), safe_only=not trust)
        network = checkpoint.get("ema") or checkpoint["model"]
        return dict(network.float().state_dict())
    except InputError:
        raise
    except TypeError as error:
        if "outside the supported" in str(error):
            raise InputError(
                path,
                "holds Python objects besides network weights, which could run code when loaded",
                "get it from a source you trust and add --trust",
            ) from error
        raise InputError(path, "is empty, cut short or no checkpoint", "fetch it again") from error
    except _UNREADABLE as error:
        raise InputError(path, "cannot be read as network weights", "fetch it again") from error


def transfer(network: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Copy every tensor that fits by name and shape.

    Raises:
        InputError: too few fit: the weights are of another architecture.
    """
    own = network.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    if len(fitting) < SAME_ARCHITECTURE * len(own):
        raise InputError(
            path,
            f"fits only {len(fitting)} of {len(own)} tensors: it is of another architecture",
            "give the weights of the model named with --model",
        )
    network.load_state_dict(fitting, strict=False)


def save_network(network: torch.nn.Module, path: Path) -> None:
    """Write a network's tensors as safetensors, atomically: no path, name or code goes along."""
    with replacing(path) as temporary:
        save_file({k: v.contiguous().cpu() for k, v in network.state_dict().items()}, temporary)


def load_network(network: torch.nn.Module, path: Path) -> None:
    """Load what `save_network` wrote, all of it.

    Raises:
        InputError: unreadable, or of another network.
    """
    state = read_state(path, trust=False)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            path, "does not fit the model that model.json names", "train again"
        ) from error
