"""Build ultralytics' networks, and load and save their tensors without its checkpoints."""

import math
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, torch_safe_load

from converters.atomic import replacing
from converters.errors import InputError
from detect.model_card import Parameters

LESION_HALF_SIDE = 0.04  # of the image side: half the width of a common lesion on a body slice
SAME_ARCHITECTURE = 0.7  # share of tensors that must fit; another class count still leaves 0.9
_UNREADABLE = (
    OSError, SafetensorError, UnpicklingError, EOFError, ImportError,
    RuntimeError, LookupError, AttributeError, ValueError, AssertionError,
)  # fmt: skip


def is_rtdetr(model: str) -> bool:
    """Whether a model name is one of RT-DETR's: other losses, no NMS, stretched input."""
    return model.startswith("rtdetr")


def build_network(model: str, classes: int, imgsz: int) -> torch.nn.Module:
    """Build a network with fresh weights from the definition that ultralytics ships."""
    kind: Any = RTDETRDetectionModel if is_rtdetr(model) else DetectionModel
    network = cast(torch.nn.Module, kind(f"{model}.yaml", nc=classes, ch=3, verbose=False))
    if not is_rtdetr(model):
        _expect_lesions(network, classes, imgsz)
    return network


def _expect_lesions(network: Any, classes: int, imgsz: int) -> None:
    """Let a fresh YOLO head expect lesions: ultralytics' biases expect street scenes of 640 px.

    Class bias: 5 objects an image over its cells, which is ultralytics' own rule at the real image
    size. Box bias: the distance to each side is an expectation over k = 0…15 strides; weights
    exp(-s k) have the mean 1 / (exp(s) - 1), so s = log(1 / mean + 1) starts it at lesion size
    instead of at 7.5 strides. It saves the first epochs of a training from scratch.
    """
    head = network.model[-1]
    for box, cls, stride in zip(head.cv2, head.cv3, head.stride.tolist(), strict=True):
        mean = max(LESION_HALF_SIDE * imgsz / stride, 0.15)
        steps = torch.arange(head.reg_max, dtype=torch.float32)
        with torch.no_grad():
            box[-1].bias.copy_((-math.log(1 / mean + 1) * steps).repeat(4))
            cls[-1].bias.fill_(math.log(5 / classes / (imgsz / stride) ** 2))


def count_parameters(model: str, classes: int) -> Parameters:
    """Count parameters of a built network before and after fusing; nothing is looked up."""
    network: Any = build_network(model, classes, imgsz=640)
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
        if not _is_checkpoint(path):
            raise InputError(path, "is empty, cut short or no checkpoint", "fetch it again")
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


def _is_checkpoint(path: Path) -> bool:
    """Whether a file is a whole zip archive, as torch writes, or begins as an old pickle does."""
    with path.open("rb") as file:
        return zipfile.is_zipfile(file) or (file.seek(0) == 0 and file.read(1) == b"\x80")


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
        temporary.write_bytes(
            save({k: v.contiguous().cpu() for k, v in network.state_dict().items()})
        )


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
