"""The training losses of DEIM on the outputs of D-FINE's decoder.

Written from the papers: matchability-aware loss (MAL) from DEIM; fine-grained localisation (FGL),
decoupled distillation (DDF) and the union of the layers' matchings from D-FINE; L1, GIoU and
contrastive denoising from DETR and DINO. Unlike the loss that comes with the network in
transformers, every decoder layer is supervised, with its own corners.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou_loss

from detect.families.deim.matching import Pairs, match, unite
from detect.training.loop.plan import Target

WEIGHTS = {"mal": 1.0, "bbox": 5.0, "giou": 2.0, "fgl": 0.15, "ddf": 1.5}
MAL_GAMMA = 1.5
TEMPERATURE = 5.0  # of the distillation
TINY = 1e-12  # area that no box falls below: of a picture, a box of 1 px has 2e-6


@dataclass(frozen=True, eq=False)
class Layer:
    """The answer of one stage for each query.

    Attributes:
        logits: ``(batch, queries, classes)``.
        boxes: ``(batch, queries, 4)`` (cx, cy, w, h) fractions.
        corners: ``(batch, queries, 4 * bins)`` logits of the distributions of the distances of the
            left, top, right and bottom side; None for stages that have none.
    """

    logits: Tensor
    boxes: Tensor
    corners: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Queries:
    """The answer of the decoder for one set of queries.

    Attributes:
        pre: boxes before the distributions refine them.
        layers: of the decoder, first to last.
        references: ``(batch, queries, 4)`` boxes that the distances are measured from.
    """

    pre: Layer
    layers: list[Layer]
    references: Tensor


@dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs of the network that are supervised.

    Attributes:
        encoder: the proposals that become queries.
        queries: the decoder's own.
        denoising: queries made from noisy truth; None where a batch has no box.
        denoising_pairs: which of them shall become which box, for each picture.
        denoising_groups: how often the truth is repeated among them.
        bins: ``(bins,)`` distances that the bins of a distribution stand for, rising, in units of
            the reference's size over `scale`.
        scale: D-FINE's `reg_scale`.
    """

    encoder: Layer
    queries: Queries
    denoising: Queries | None
    denoising_pairs: list[Pairs]
    denoising_groups: int
    bins: Tensor
    scale: float


def deim_losses(outputs: Outputs, targets: Sequence[Target]) -> dict[str, Tensor]:
    """Return every loss, weighted, by its name and the stage it is of.

    Names are as in the published code: ``bbox`` of the last layer, ``bbox_aux_0`` of the first
    decoder layer, ``bbox_pre``, ``bbox_enc_0``, ``bbox_dn_0``, ``bbox_dn_pre``. A batch without any
    box gives finite losses that teach "nothing here".

    Under DDP the number of boxes is averaged over the processes, so that the gradient does not
    depend on how a batch is shared out.
    """
    queries = outputs.queries
    *earlier, last = queries.layers
    stages = [last, *earlier, queries.pre, outputs.encoder]
    matched = match(
        torch.stack([stage.logits for stage in stages]),
        torch.stack([stage.boxes for stage in stages]),
        targets,
    )
    united = unite(matched)
    boxes = _mean_over_processes(sum(len(t["labels"]) for t in targets), last.logits)
    boxes_united = _mean_over_processes(sum(len(pair) for pair, _ in united), last.logits)
    share = _matched_share(united, last)

    losses: dict[str, Tensor] = {}
    names = ["", *(f"_aux_{k}" for k in range(len(earlier))), "_pre", "_enc_0"]
    picked = _Picked(united, targets, queries.references, outputs, boxes_united)
    for name, stage, pairs in zip(names, stages, matched, strict=True):
        parts = {"mal": _mal(stage, pairs, targets, boxes)}
        parts |= picked.losses(stage, last if stage in earlier else None, share)
        losses |= {key + name: WEIGHTS[key] * value for key, value in parts.items()}

    if (noisy := outputs.denoising) is not None:
        pairs = outputs.denoising_pairs
        count = boxes * outputs.denoising_groups
        picked = _Picked(pairs, targets, noisy.references, outputs, count)
        names = ["_dn_pre", *(f"_dn_{k}" for k in range(len(noisy.layers)))]
        for name, stage in zip(names, [noisy.pre, *noisy.layers], strict=True):
            taught = stage in noisy.layers[:-1]
            parts = {"mal": _mal(stage, pairs, targets, count)}
            parts |= picked.losses(stage, noisy.layers[-1] if taught else None, share)
            losses |= {key + name: WEIGHTS[key] * value for key, value in parts.items()}
    return losses


def _mean_over_processes(count: int, like: Tensor) -> float:
    total = torch.tensor(float(count), device=like.device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
        total /= torch.distributed.get_world_size()
    return max(total.item(), 1.0)


def _matched_share(united: list[Pairs], layer: Layer) -> float:
    """Weight of the matched queries against the others in the distillation, as D-FINE sets it."""
    matched = sum(len(queries) for queries, _ in united)
    others = layer.logits.shape[0] * layer.logits.shape[1] - matched
    return float(matched**0.5 / (matched**0.5 + others**0.5))


def _index(pairs: Sequence[Pairs], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (picture, query) of every pair, as indices into a layer's tensors."""
    pictures = np.concatenate([np.full(len(q), k) for k, (q, _) in enumerate(pairs)])
    queries = np.concatenate([q for q, _ in pairs])
    both = torch.from_numpy(np.stack([pictures, queries])).long().to(device)
    return both[0], both[1]


def _truth(key: str, pairs: Sequence[Pairs], targets: Sequence[Target]) -> Tensor:
    """Return the truth of every pair."""
    return torch.cat(
        [t[key][torch.from_numpy(boxes)] for t, (_, boxes) in zip(targets, pairs, strict=True)]
    )


def _mal(stage: Layer, pairs: Sequence[Pairs], targets: Sequence[Target], count: float) -> Tensor:
    """Matchability-aware loss, DEIM eq. 3: cross entropy against q^γ, where q is the IoU.

    Negatives weigh p^γ, positives 1, so that a poorly matched query learns to say little.
    """
    logits = stage.logits.float()
    index = _index(pairs, logits.device)
    labels = _truth("labels", pairs, targets)
    iou = _iou(stage.boxes[index].detach().float(), _truth("boxes", pairs, targets))
    wanted, positive = torch.zeros_like(logits), torch.zeros_like(logits)
    wanted[(*index, labels)] = iou.clamp(0, 1) ** MAL_GAMMA
    positive[(*index, labels)] = 1.0
    weight = logits.detach().sigmoid() ** MAL_GAMMA * (1 - positive) + positive
    return F.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum") / count


def _corners(boxes: Tensor) -> Tensor:
    """Turn (cx, cy, w, h) into (x1, y1, x2, y2)."""
    corners: Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners


def _iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU of box after box, (cx, cy, w, h)."""
    a, b = _corners(boxes), _corners(others)
    inter = (torch.min(a[:, 2:], b[:, 2:]) - torch.max(a[:, :2], b[:, :2])).clamp(0).prod(1)
    union = boxes[:, 2:].prod(1) + others[:, 2:].prod(1) - inter
    return inter / union.clamp(min=TINY)


class _Picked:
    """The losses of boxes and corners, for one choice of pairs that several stages share."""

    def __init__(
        self,
        pairs: Sequence[Pairs],
        targets: Sequence[Target],
        references: Tensor,
        outputs: Outputs,
        count: float,
    ) -> None:
        self.index = _index(pairs, references.device)
        self.truth = _truth("boxes", pairs, targets)
        self.count = count
        picked = references[self.index].detach().float()
        self.bins = _bins_of(self.truth, picked, outputs.bins, outputs.scale)

    def losses(self, stage: Layer, teacher: Layer | None, share: float) -> dict[str, Tensor]:
        boxes = stage.boxes[self.index].float()
        giou = generalized_box_iou_loss(_corners(boxes), _corners(self.truth), "sum", TINY)
        losses = {
            "bbox": (boxes - self.truth).abs().sum() / self.count,
            "giou": giou / self.count,
        }
        if stage.corners is not None:
            iou = _iou(boxes.detach(), self.truth)
            losses["fgl"] = self._fgl(stage.corners, iou)
            if teacher is not None:
                losses["ddf"] = self._ddf(stage.corners, teacher, iou, share)
        return losses

    def _fgl(self, corners: Tensor, iou: Tensor) -> Tensor:
        """D-FINE eq. 5: cross entropy against the two bins around the true distance."""
        left, right_weight = self.bins
        logits = _by_side(corners[self.index]).flatten(0, 1)
        loss = F.cross_entropy(logits, left, reduction="none") * (1 - right_weight)
        loss = loss + F.cross_entropy(logits, left + 1, reduction="none") * right_weight
        return (loss * iou.repeat_interleave(4)).sum() / self.count

    def _ddf(self, corners: Tensor, teacher: Layer, iou: Tensor, share: float) -> Tensor:
        """D-FINE eq. 6: earlier layers learn the last one's distributions.

        Matched queries weigh their IoU, the others the last layer's confidence.
        """
        assert teacher.corners is not None  # noqa: S101  a layer with corners has such a teacher
        learned = F.log_softmax(_by_side(corners) / TEMPERATURE, -1)
        taught = F.softmax(_by_side(teacher.corners.detach()) / TEMPERATURE, -1)
        apart = F.kl_div(learned, taught, reduction="none").sum(-1)  # (batch, queries, 4)
        weight = teacher.logits.detach().float().sigmoid().amax(-1)
        matched = torch.zeros_like(weight, dtype=torch.bool)
        matched[self.index] = True
        weight[self.index] = iou
        loss = weight[..., None] * TEMPERATURE**2 * apart
        parts = [(loss[matched], share), (loss[~matched], 1 - share)]
        return sum((part.mean() * w for part, w in parts if part.numel()), loss.sum() * 0)


def _by_side(corners: Tensor) -> Tensor:
    """Return ``(…, 4 * bins)`` as ``(…, 4, bins)``."""
    return corners.float().reshape(*corners.shape[:-1], 4, corners.shape[-1] // 4)


def _bins_of(
    truth: Tensor, references: Tensor, bins: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the bin left of each true distance, and the weight of the bin right of it.

    A side's distance from the reference's centre, in units of the reference's size / `scale`, less
    half of it: 0 where the side is the reference's own (D-FINE eq. 2).

    Returns:
        Two tensors ``(4 * pairs,)``.
    """
    size = references[:, 2:] / scale + 1e-16
    low, high = _corners(truth).chunk(2, 1)
    centre = references[:, :2]
    distances = torch.cat([(centre - low) / size, (high - centre) / size], 1) - 0.5 * scale
    flat = distances.flatten().clamp(bins[0], bins[-1])
    left = (torch.searchsorted(bins, flat, right=True) - 1).clamp(0, len(bins) - 2)
    return left, (flat - bins[left]) / (bins[left + 1] - bins[left])
