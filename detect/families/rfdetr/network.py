"""RF-DETR's network as the package builds it, without anything that it would fetch."""

import logging
import warnings
from argparse import Namespace
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from rfdetr.config import (
    ModelConfig,
    RFDETRLargeConfig,
    RFDETRMediumConfig,
    RFDETRNanoConfig,
    RFDETRSmallConfig,
)
from rfdetr.models.lwdetr import build_model_from_config
from rfdetr.models.weights import interpolate_position_embeddings
from torch import Tensor, nn

from converters.core.errors import InputError
from detect.detectors.card import Parameters
from detect.detectors.checkpoints import State, load_checkpoint
from detect.detectors.runtimes.half import keep_exact

logging.getLogger("rf-detr").setLevel(logging.ERROR)  # else each build gives advice

QUERIES = 300
GROUPS = 13  # of queries, each matched on its own; only the first is deployed
PATCH = 16  # px; windows of attention are half the picture, so that sides are multiples of 32
_CONFIGS: dict[str, type[Any]] = {
    "rfdetr-nano": RFDETRNanoConfig,
    "rfdetr-small": RFDETRSmallConfig,
    "rfdetr-medium": RFDETRMediumConfig,
    "rfdetr-large": RFDETRLargeConfig,
}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as in all its weights
_PER_QUERY = ("refpoint_embed.weight", "query_feat.weight")


def configuration(model: str, classes: int, imgsz: int, groups: int = GROUPS) -> ModelConfig:
    """Return the published configuration, with a position for each cell of this input.

    A small input has fewer cells than the 300 queries; then every cell becomes a query.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it expects published weights to follow
        return _CONFIGS[model](
            num_classes=classes,
            resolution=imgsz,
            positional_encoding_size=imgsz // PATCH,
            num_queries=min(QUERIES, (imgsz // PATCH) ** 2),
            group_detr=groups,
            device="cpu",
        )


def build_network(model: str, classes: int, imgsz: int, groups: int = GROUPS) -> nn.Module:
    """Build a network with fresh weights.

    It has one logit more than there are classes, as published: classes are 0 … n-1, and the last
    logit is never taught anything but "no". `run` leaves it out.

    Args:
        model: ``rfdetr-nano`` … ``rfdetr-large``.
        classes: number of lesion classes.
        imgsz: side of the input, px, a multiple of 32.
        groups: of queries.
    """
    network: Any = build_model_from_config(configuration(model, classes, imgsz, groups))
    # it stands for hidden patches, which only DINOv2's own pretraining has
    network.backbone[0].encoder.encoder.embeddings.mask_token.requires_grad_(False)
    return cast(nn.Module, network)


def run(network: nn.Module, images: Tensor) -> dict[str, Any]:
    """Normalise and run.

    Args:
        network: in training mode for all groups of queries, else for the first.
        images: ``(batch, 3, side, side)`` in [0, 1].

    Returns:
        As RF-DETR: `pred_logits` ``(batch, queries, classes + 1)`` and `pred_boxes`
        ``(batch, queries, 4)`` (cx, cy, w, h) fractions of the last layer, and the same of the
        others in `aux_outputs` and `enc_outputs`.
    """
    return cast(dict[str, Any], network(_normalised(images)))


def _normalised(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (_MEAN, _STD))
    return (images - mean) / std


def decode_exactly(network: nn.Module) -> nn.Module:
    """Copy a network for inference; all after the backbone runs in float32, whatever that does."""
    copy: Any = deepcopy(network).eval()
    for part in (copy.transformer, copy.bbox_embed, copy.class_embed):
        keep_exact(part)
    return cast(nn.Module, copy)


class RawOutput(nn.Module):
    """A network in evaluation mode, as trained or set for export, that returns only its answer."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        """Wrap a network of so many classes."""
        super().__init__()
        self.network = network
        self.classes = classes

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and boxes, see `QuerySteps`."""
        raw = self.network(_normalised(images))
        boxes, logits = raw if isinstance(raw, tuple) else (raw["pred_boxes"], raw["pred_logits"])
        return logits[..., : self.classes], boxes


def load_published(path: Path, trust: bool) -> State:
    """Read a checkpoint of the package: tensors beside the arguments of their training.

    These lie in a namespace, which holds values and runs nothing.

    Raises:
        ForeignObjects: without `trust`, where there is more than that.
    """
    with torch.serialization.safe_globals([Namespace, SimpleNamespace]):
        return load_checkpoint(path, trust)


def fitted(state: State, network: Any, model: str, path: Path) -> State:
    """Fit published weights to another size of input: positions are interpolated, queries cut.

    Raises:
        InputError: of another variant, which would fit but for its number of decoder layers.
    """
    state = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    layers, wanted = (_decoder_layers(names) for names in (state, network.state_dict()))
    if layers and layers != wanted:
        raise InputError(
            path,
            f"has {layers} decoder layers, and {model} has {wanted}",
            "give the weights of the model named with --model",
        )
    embeddings = network.backbone[0].encoder.encoder.embeddings
    interpolate_position_embeddings(state, embeddings.config.image_size // PATCH)
    queries, groups = network.num_queries, network.group_detr
    for name in _PER_QUERY:
        tensor = state.get(name)
        if tensor is not None and len(tensor) > queries * groups and len(tensor) % groups == 0:
            state[name] = tensor.view(groups, -1, tensor.shape[1])[:, :queries].flatten(0, 1)
    return state


def _decoder_layers(names: Any) -> int:
    prefix = "transformer.decoder.layers."
    return len({name.split(".")[3] for name in names if name.startswith(prefix)})


def count_parameters(model: str, classes: int) -> Parameters:
    """Count parameters of built networks, as trained and as deployed, at the published input size.

    "Fused" is what inference needs: one group of queries, with its own heads, of the 13; there is
    no batch norm to fold. Another input size has more or fewer positions, of 384 numbers each.
    """
    side = _CONFIGS[model].model_fields["resolution"].default
    unfused, fused = (
        sum(p.numel() for p in build_network(model, classes, side, groups).parameters())
        for groups in (GROUPS, 1)
    )
    return Parameters(unfused=unfused, fused=fused)
