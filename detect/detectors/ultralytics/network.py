"""Build ultralytics' networks and read its checkpoints."""

import math
from pathlib import Path
from typing import Any, cast

import torch
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, torch_safe_load

from converters.errors import InputError
from detect.detectors.weight_files import ForeignObjects, State
from detect.model_card import Parameters

LESION_HALF_SIDE = 0.04  # of the image side: half the width of a common lesion on a body slice


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

    Class bias: one object an image over the cells of all levels; ultralytics' rule, five a level
    at 640 px, would have the first epochs spent on unlearning them at the size of a slice.
    Box bias: the distance to each side is an expectation over k = 0…15 strides; weights
    exp(-s k) have the mean 1 / (exp(s) - 1), so s = log(1 / mean + 1) starts it at lesion size
    instead of at 7.5 strides. It saves the first epochs of a training from scratch.
    """
    head = network.model[-1]
    for box, cls, stride in zip(head.cv2, head.cv3, head.stride.tolist(), strict=True):
        mean = max(LESION_HALF_SIDE * imgsz / stride, 0.15)
        steps = torch.arange(head.reg_max, dtype=torch.float32)
        with torch.no_grad():
            box[-1].bias.copy_((-math.log(1 / mean + 1) * steps).repeat(4))
            cls[-1].bias.fill_(math.log(1 / 3 / classes / (imgsz / stride) ** 2))


def count_parameters(model: str, classes: int) -> Parameters:
    """Count parameters of a built network before and after fusing; nothing is looked up."""
    network: Any = build_network(model, classes, imgsz=640)
    unfused = sum(p.numel() for p in network.parameters())
    fused = sum(p.numel() for p in network.fuse(verbose=False).parameters())
    return Parameters(unfused=unfused, fused=fused)


def load_checkpoint(path: Path, trust: bool) -> State:
    """Read the tensors of an ultralytics `.pt`.

    Without `trust` only tensors and the network classes of torch and ultralytics are rebuilt.

    Raises:
        ForeignObjects: there is something else in the file.
    """
    try:
        # absolute: a bare name that it knows, if damaged, it would delete and download anew
        checkpoint, _ = torch_safe_load(path.absolute(), safe_only=not trust)
    except TypeError as error:
        if "outside the supported" in str(error):
            raise ForeignObjects from error
        raise InputError(path, "is empty, cut short or no checkpoint", "fetch it again") from error
    network = checkpoint.get("ema") or checkpoint["model"]
    return dict(network.float().state_dict())
