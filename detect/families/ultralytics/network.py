"""Build ultralytics' networks and read its checkpoints."""

import math
import re
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from torch.overrides import TorchFunctionMode
from ultralytics.nn.modules.head import Detect
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, torch_safe_load
from ultralytics.utils import ROOT

from converters.core.errors import InputError
from detect.detectors.card import Parameters
from detect.detectors.checkpoints import ForeignObjects, State
from detect.detectors.runtimes.half import keep_exact
from detect.families.ultralytics.steps import is_rtdetr

LESION_HALF_SIDE = 0.04  # of the image side: half the width of a common lesion on a body slice


def build_network(model: str, classes: int, imgsz: int) -> torch.nn.Module:
    """Build a network with fresh weights from the definition that ultralytics ships."""
    if is_rtdetr(model):
        return _build(RTDETRDetectionModel, model, classes)
    network: Any = _build(DetectionModel, model, classes)
    head = network.model[-1]
    # YOLOv10 and YOLO26 have two branches, both of which are trained: one gives each lesion one box
    # and needs no NMS. It is set here, since ultralytics'
    # default changes between versions.
    head.end2end = has_one2one(head)
    for boxes, scores in _branches(head):
        _start_biases_at_lesions(boxes, scores, head, imgsz)
    return cast(torch.nn.Module, network)


def _build(kind: Any, model: str, classes: int) -> torch.nn.Module:
    # Every definition but YOLOv10's sets this attribute of the class, and YOLOv10 draws its random
    # numbers by it: they must not depend on which network was built before.
    Detect.legacy = False
    return cast(torch.nn.Module, kind(_definition(model), nc=classes, ch=3, verbose=False))


def _definition(model: str) -> dict[str, Any]:
    """Read a definition from ultralytics' own folder.

    Its own search would prefer a file of that name in the working folder, and runs what that file
    gives as its activation function.
    """
    size = re.match(r"yolov?\d+([nsmlx])(?=-|$)", model)
    line = model[: size.start(1)] + model[size.end(1) :] if size else model
    path = _definitions().get(model) or _definitions()[line]
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    scale = size[1] if size else next(iter(content.get("scales", {})), "")
    return content | {"scale": scale, "yaml_file": f"{model}.yaml"}


@cache
def _definitions() -> dict[str, Path]:
    return {path.stem: path for path in (ROOT / "cfg" / "models").rglob("*.yaml")}


def has_one2one(head: Any) -> bool:
    """Recognise a head with a branch that gives each object one box: YOLOv10's and YOLO26's."""
    return getattr(head, "one2one_cv2", None) is not None


def _branches(head: Any) -> list[tuple[Any, Any]]:
    """List a YOLO head's pairs of box and class layers."""
    branches = [(head.cv2, head.cv3)]
    return [*branches, (head.one2one_cv2, head.one2one_cv3)] if has_one2one(head) else branches


def _start_biases_at_lesions(boxes: Any, scores: Any, head: Any, imgsz: int) -> None:
    """Let a fresh YOLO head expect lesions: ultralytics' biases expect street scenes of 640 px.

    Class bias: one object an image over the cells of all levels; ultralytics' rule, five a level
    at 640 px, would have the first epochs spent on unlearning them at the size of a slice.
    Box bias: the distance to each side is an expectation over k = 0…15 strides; weights
    exp(-s k) have the mean 1 / (exp(s) - 1), so s = log(1 / mean + 1) starts it at lesion size
    instead of at 7.5 strides. Where there is one bin only, as in YOLO26, its output is the distance
    itself. It saves the first epochs of a training from scratch.
    """
    for box, cls, stride in zip(boxes, scores, head.stride.tolist(), strict=True):
        mean = max(LESION_HALF_SIDE * imgsz / stride, 0.15)
        steps = torch.arange(head.reg_max, dtype=torch.float32)
        bins = -math.log(1 / mean + 1) * steps if head.reg_max > 1 else torch.tensor([mean])
        with torch.no_grad():
            box[-1].bias.copy_(bins.repeat(4))
            cls[-1].bias.fill_(math.log(1 / 3 / head.nc / (imgsz / stride) ** 2))


def deploy(network: torch.nn.Module) -> torch.nn.Module:
    """Return a copy for inference, batch norms folded into convolutions."""
    copy: Any = deepcopy(network).eval()
    return cast(torch.nn.Module, copy.fuse(verbose=False))


def decode_exactly(deployed: Any) -> None:
    """Let a network for inference add up its boxes in float32, whatever the rest runs in."""
    head = deployed.model[-1]
    keep_exact(head, "_inference" if hasattr(head, "_inference") else "forward")


class RawOutput(torch.nn.Module):
    """A network in evaluation mode without what it returns beside its answer."""

    def __init__(self, network: torch.nn.Module) -> None:
        """Wrap a network."""
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the one output, see `UltralyticsSteps`."""
        return (self.network(images)[0],)


class _NoInitialisation(TorchFunctionMode):
    """Leaves out the random numbers of fresh layers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.init.kaiming_uniform_:
            return None
        return func(*args, **(kwargs or {}))


class _NoStridePass(DetectionModel):
    """Leaves out the pass over a picture that measures the strides."""

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        layers: Any = self.model
        return {"feats": [x] * layers[-1].nl}


def count_parameters(model: str, classes: int) -> Parameters:
    """Count parameters of a built network before and after fusing; nothing is looked up.

    The network is built without what takes long and changes no shape.
    """
    with _NoInitialisation():
        kind = RTDETRDetectionModel if is_rtdetr(model) else _NoStridePass
        network: Any = _build(kind, model, classes)
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
