"""D-FINE's network, built from numbers, with the activations and batch norms that DEIM trains."""

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DFineConfig, DFineForObjectDetection, HGNetV2Config
from transformers.models.d_fine import modeling_d_fine as dfine

from detect.detectors.card import Parameters
from detect.detectors.checkpoints import State
from detect.families.deim.criterion import Layer, Outputs, Queries
from detect.training.loop.plan import Target

QUERIES = 300
PRIOR = 0.01  # confidence that a fresh head starts with


@dataclass(frozen=True)
class _Backbone:
    """An HGNetV2, by the numbers of its four stages."""

    stem: tuple[int, int]
    inner: tuple[int, int, int, int]
    outer: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]
    layers: int
    affine: bool  # learnable scale and bias after each activation


@dataclass(frozen=True)
class _Size:
    """A size of the detector: what differs from D-FINE-L."""

    backbone: _Backbone
    expansion: float = 1.0
    depth: float = 1.0
    decoder_layers: int = 6
    hidden: int = 256  # of the encoder; the decoder has at most 256
    encoder_ffn: int = 1024
    decoder_ffn: int = 1024
    scale: float = 4.0  # `reg_scale`
    strides: tuple[int, ...] = (8, 16, 32)


_B0 = _Backbone((16, 16), (16, 32, 64, 128), (64, 256, 512, 1024), (1, 1, 2, 1), 3, True)
_B2 = _Backbone((24, 32), (32, 64, 128, 256), (96, 384, 768, 1536), (1, 1, 3, 1), 4, True)
_B4 = _Backbone((32, 48), (48, 96, 192, 384), (128, 512, 1024, 2048), (1, 1, 3, 1), 6, False)
_B5 = _Backbone((32, 64), (64, 128, 256, 512), (128, 512, 1024, 2048), (1, 2, 5, 2), 6, False)

# Sizes as published with DEIM (configs/deim_dfine).
SIZES = {
    "n": _Size(_B0, 0.34, 0.5, 3, 128, 512, 512, strides=(16, 32)),
    "s": _Size(_B0, 0.5, 0.34, 3),
    "m": _Size(_B2, 1.0, 0.67, 4),
    "l": _Size(_B4),
    "x": _Size(_B5, hidden=384, encoder_ffn=2048, scale=8.0),
}


def build_network(model: str, classes: int, imgsz: int) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        model: ``deim-n`` … ``deim-x``.
        classes: number of lesion classes.
        imgsz: side of the input, px. A small one has fewer cells than the 300 queries that D-FINE
            asks for; then every cell becomes a query.
    """
    network: Any = DFineForObjectDetection(_config(model, classes, imgsz))
    del network.class_embed, network.bbox_embed  # second names of the decoder's own
    for module in network.modules():
        if isinstance(module, dfine.DFineMLP):
            module.act = nn.SiLU()
        elif isinstance(module, dfine.DFineMLPPredictionHead):
            module.__class__ = _SiLUHead  # its forward names ReLU
    _initialise(network)
    return cast(nn.Module, network)


@torch.no_grad()
def _initialise(network: Any) -> None:
    """Draw fresh weights as D-FINE does: transformers' are made for loading, and far too small.

    Kept are the offsets of the deformable attention and the gates.
    """
    kept = ("sampling_offsets", "attention_weights", ".gate.")
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and not any(k in f"{name}." for k in kept):
            module.reset_parameters()
            if name.endswith("enc_score_head") or ".class_embed." in name:
                module.bias.fill_(math.log(PRIOR / (1 - PRIOR)))  # type: ignore[union-attr]
        elif isinstance(module, nn.Embedding):
            module.reset_parameters()
    for module in network.modules():
        if isinstance(module, dfine.DFineSelfAttention):
            for part in (module.q_proj, module.k_proj, module.v_proj):
                nn.init.xavier_uniform_(part.weight, gain=0.5**0.5)  # as of one packed matrix
            for part in (module.q_proj, module.k_proj, module.v_proj, module.o_proj):
                nn.init.zeros_(part.bias)
        elif isinstance(module, dfine.DFineDecoderLayer):
            for part in module.mlp.layers:
                nn.init.xavier_uniform_(part.weight)
    model = network.model
    nn.init.xavier_uniform_(model.enc_output[0].weight)
    for part in model.decoder.query_pos_head.layers:
        nn.init.xavier_uniform_(part.weight)
    heads = [model.enc_bbox_head, model.decoder.pre_bbox_head, *model.decoder.bbox_embed]
    for head in [*heads, *(quality.reg_conf for quality in model.decoder.lqe_layers)]:
        nn.init.zeros_(head.layers[-1].weight)
        nn.init.zeros_(head.layers[-1].bias)


def published_names(state: State) -> State:
    """Rename the tensors of a published D-FINE, which may use the heads' second names."""
    seconds = ("class_embed.", "bbox_embed.")
    return {f"model.decoder.{k}" if k.startswith(seconds) else k: v for k, v in state.items()}


class _SiLUHead(dfine.DFineMLPPredictionHead):  # type: ignore[misc]
    """A head with the activation that DEIM gives it."""

    def forward(self, x: Tensor) -> Tensor:
        *inner, last = self.layers
        for layer in inner:
            x = F.silu(layer(x))
        return cast(Tensor, last(x))


def _config(model: str, classes: int, imgsz: int) -> Any:
    size = SIZES[model.removeprefix("deim-")]
    backbone, levels = size.backbone, len(size.strides)
    channels = list(backbone.outer[-levels:])
    decoder = min(size.hidden, 256)
    return DFineConfig(
        backbone_config=HGNetV2Config(
            stem_channels=[3, *backbone.stem],
            stage_in_channels=[backbone.stem[1], *backbone.outer[:3]],
            stage_mid_channels=list(backbone.inner),
            stage_out_channels=list(backbone.outer),
            stage_num_blocks=list(backbone.blocks),
            stage_downsample=[False, True, True, True],
            stage_light_block=[False, False, True, True],
            stage_kernel_size=[3, 3, 5, 5],
            stage_numb_of_layers=[backbone.layers] * 4,
            hidden_sizes=list(backbone.outer),
            use_learnable_affine_block=backbone.affine,
            out_indices=list(range(5 - levels, 5)),
        ),
        freeze_backbone_batch_norms=False,
        encoder_in_channels=channels,
        feat_strides=list(size.strides),
        encoder_hidden_dim=size.hidden,
        encode_proj_layers=[levels - 1],
        encoder_ffn_dim=size.encoder_ffn,
        hidden_expansion=size.expansion,
        depth_mult=size.depth,
        num_feature_levels=levels,
        d_model=decoder,
        decoder_in_channels=[size.hidden] * levels,
        decoder_ffn_dim=size.decoder_ffn,
        decoder_layers=size.decoder_layers,
        decoder_n_points=[6, 6] if levels == 2 else [3, 6, 3],
        reg_scale=size.scale,
        num_queries=min(QUERIES, sum((imgsz // stride) ** 2 for stride in size.strides)),
        num_labels=classes,
    )


def training_outputs(network: Any, images: Tensor, targets: list[Target]) -> Outputs:
    """Run the network and sort what the decoder says by query set and layer.

    Args:
        network: in training mode.
        images: ``(batch, 3, side, side)`` in [0, 1].
        targets: truth, from which the denoising queries are made.
    """
    truth = [{"class_labels": t["labels"], "boxes": t["boxes"]} for t in targets]
    raw = network.model(images, labels=truth)
    decoder, noisy = network.model.decoder, raw.denoising_meta_values
    stages = (
        raw.intermediate_logits,  # index 0 is the stage before the refinement …
        raw.intermediate_reference_points,
        raw.intermediate_predicted_corners,  # … which has no distributions
        raw.initial_reference_points[:, 0],
    )
    denoising, pairs, groups = None, [], 0
    if noisy is not None:
        split = noisy["dn_num_split"]
        denoising = _queries(*(part.split(split, dim=-2)[0] for part in stages))
        stages = tuple(part.split(split, dim=-2)[1] for part in stages)
        groups = noisy["dn_num_group"]
        for index, target in zip(noisy["dn_positive_idx"], targets, strict=True):
            boxes = torch.arange(len(target["labels"])).tile(groups)
            pairs.append((index.cpu().numpy(), boxes.numpy()))
    return Outputs(
        encoder=Layer(raw.enc_topk_logits, raw.enc_topk_bboxes),
        queries=_queries(*stages),
        denoising=denoising,
        denoising_pairs=pairs,
        denoising_groups=groups,
        bins=dfine.weighting_function(decoder.max_num_bins, decoder.up, decoder.reg_scale).detach(),
        scale=float(decoder.reg_scale),
    )


def _queries(logits: Tensor, boxes: Tensor, corners: Tensor, references: Tensor) -> Queries:
    layers = zip(logits.unbind(1)[1:], boxes.unbind(1)[1:], corners.unbind(1), strict=True)
    return Queries(
        pre=Layer(logits[:, 0], boxes[:, 0]),
        layers=[Layer(*layer) for layer in layers],
        references=references,
    )


def unused(network: Any) -> Tensor:
    """Return zero, made of the parameters that a batch without boxes does not touch.

    Without it, such a batch on one process of several would leave a gradient missing.
    """
    return cast(Tensor, network.model.denoising_class_embed.weight.sum() * 0)


def deploy(network: nn.Module) -> nn.Module:
    """Return a copy for inference, as D-FINE deploys: norms folded, early heads left out.

    The backbone keeps its batch norms, and the embedding of the denoising stays, as in the
    published deployment, whose parameters are counted so.
    """
    copy: Any = deepcopy(network).eval()
    for module in list(copy.model.encoder.modules()):
        if isinstance(module, dfine.DFineRepVggBlock):
            kernel, bias = _folded(module.conv1)
            point, shift = _folded(module.conv2)
            module.conv1 = _convolution(kernel + F.pad(point, [1] * 4), bias + shift, module.conv1)
            module.conv2 = _Nothing()
    for module in list(copy.model.encoder.modules()):
        if isinstance(module, dfine.DFineConvNormLayer):
            module.conv = _convolution(*_folded(module), module)
            module.norm = nn.Identity()
    decoder, last = copy.model.decoder, copy.eval_idx
    for heads in (decoder.class_embed, decoder.lqe_layers):
        for k in range(last):
            heads[k] = nn.Identity()
    return cast(nn.Module, copy)


class RawOutput(nn.Module):
    """A network in evaluation mode without what it returns beside its answer."""

    def __init__(self, network: nn.Module) -> None:
        """Wrap a network."""
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and boxes, see `QuerySteps`."""
        raw = self.network(images)
        return raw.logits, raw.pred_boxes


class _Nothing(nn.Module):
    """Adds nothing to the branch beside it."""

    def forward(self, x: Tensor) -> float:
        return 0.0


def _folded(layer: Any) -> tuple[Tensor, Tensor]:
    """Return kernel and bias of a convolution with its batch norm folded in."""
    norm = layer.norm
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    kernel = layer.conv.weight.detach() * factor[:, None, None, None]
    return kernel, norm.bias.detach() - norm.running_mean * factor


def _convolution(kernel: Tensor, bias: Tensor, like: Any) -> nn.Conv2d:
    old = like.conv
    new = nn.Conv2d(
        old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding,
        groups=old.groups,
    ).to(kernel.device)  # fmt: skip
    new.weight.data, new.bias.data = kernel, bias  # type: ignore[union-attr]
    return new


def count_parameters(model: str, classes: int) -> Parameters:
    """Count parameters of a built network as trained and as deployed."""
    network = build_network(model, classes, imgsz=640)
    unfused = sum(p.numel() for p in network.parameters())
    return Parameters(unfused=unfused, fused=sum(p.numel() for p in deploy(network).parameters()))
