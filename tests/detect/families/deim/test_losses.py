"""DEIM's losses against an independent implementation, by hand, and on what must not break them."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from detect.families.deim.criterion import WEIGHTS, Layer, Outputs, Queries, deim_losses
from detect.families.deim.matching import match, unite
from detect.families.deim.network import build_network, training_outputs
from detect.training.loop.plan import Target

LAYERS, QUERIES, CLASSES, BINS = 3, 24, 3, 33


def targets(counts: tuple[int, ...], seed: int = 0) -> list[Target]:
    draw = torch.Generator().manual_seed(seed)
    made_targets = []
    for count in counts:
        size = 0.05 + 0.2 * torch.rand(count, 2, generator=draw)
        centre = 0.2 + 0.6 * torch.rand(count, 2, generator=draw)
        labels = torch.randint(0, CLASSES, (count,), generator=draw)
        made_targets.append({"labels": labels, "boxes": torch.cat([centre, size], 1)})
    return made_targets


def random_layers(batch: int, queries: int, seed: int) -> Iterator[Layer]:
    draw = torch.Generator().manual_seed(seed)
    for _ in range(LAYERS + 1):
        boxes = torch.rand(batch, queries, 4, generator=draw) * 0.4 + 0.1
        logits = torch.randn(batch, queries, CLASSES, generator=draw)
        corners = torch.randn(batch, queries, 4 * BINS, generator=draw)
        yield Layer(*(x.requires_grad_() for x in (logits, boxes, corners)))


def random_outputs(truth: list[Target], groups: int = 2, seed: int = 0) -> Outputs:
    """Draw outputs of a decoder at random; every tensor wants a gradient."""
    batch, most = len(truth), max(len(t["labels"]) for t in truth)
    draw = torch.Generator().manual_seed(seed + 99)

    def queries(number: int, start: int) -> Queries:
        pre, *layers = random_layers(batch, number, start)
        references = torch.rand(batch, number, 4, generator=draw) * 0.3 + 0.1
        return Queries(Layer(pre.logits, pre.boxes), layers, references)

    pairs = []
    for target in truth:
        indices = np.arange(len(target["labels"]))
        first = (
            2 * most * np.arange(groups)[:, None] + indices
        )  # positives, then negatives, a group
        pairs.append((first.ravel(), np.tile(indices, groups)))
    encoder = next(random_layers(batch, QUERIES, seed + 7))
    from transformers.models.d_fine.modeling_d_fine import weighting_function

    return Outputs(
        encoder=Layer(encoder.logits, encoder.boxes),
        queries=queries(QUERIES, seed + 1),
        denoising=queries(2 * most * groups, seed + 2) if most else None,
        denoising_pairs=pairs,
        denoising_groups=groups,
        bins=weighting_function(BINS - 1, torch.tensor([0.5]), torch.tensor([4.0])),
        scale=4.0,
    )


def published(outputs: Outputs, truth: list[Target]) -> dict[str, Tensor]:
    """Compute the losses of D-FINE by pydfine on the same tensors."""
    from dfine.backends.native.criterion import DFINECriterion
    from dfine.config import DFINEConfig

    up, scale = torch.tensor([0.5]), torch.tensor([outputs.scale])

    def plain(layer: Layer) -> dict[str, Tensor]:
        return {"pred_logits": layer.logits, "pred_boxes": layer.boxes}

    def refined(queries: Queries, layer: Layer, teacher: Layer | None) -> dict[str, Tensor]:
        assert layer.corners is not None
        merged = plain(layer) | {"pred_corners": layer.corners, "ref_points": queries.references}
        if teacher is not None and teacher.corners is not None:
            merged |= {"teacher_corners": teacher.corners, "teacher_logits": teacher.logits}
        return merged

    matched, noisy = outputs.queries, outputs.denoising
    *earlier, last = matched.layers
    inputs: dict[str, object] = refined(matched, last, None) | {"up": up, "reg_scale": scale}
    inputs["aux_outputs"] = [refined(matched, layer, last) for layer in earlier]
    inputs["pre_outputs"] = plain(matched.pre)
    inputs["enc_aux_outputs"] = [plain(outputs.encoder)]
    inputs["enc_meta"] = {"class_agnostic": False}
    if noisy is not None:
        inputs["dn_outputs"] = [refined(noisy, x, noisy.layers[-1]) for x in noisy.layers]
        inputs["dn_pre_outputs"] = plain(noisy.pre)
        inputs["dn_meta"] = {
            "dn_positive_idx": [
                torch.from_numpy(queries) for queries, _ in outputs.denoising_pairs
            ],
            "dn_num_group": outputs.denoising_groups,
        }
    criterion = DFINECriterion.from_config(DFINEConfig.preset("n", num_classes=CLASSES))
    losses: dict[str, Tensor] = criterion(inputs, truth)
    return {name.removeprefix("loss_"): value for name, value in losses.items()}


@pytest.fixture
def stable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the published criterion settle ties as ours does: it sorts votes in no stable order."""
    monkeypatch.setattr(torch, "argsort", partial(torch.argsort, stable=True))


@pytest.mark.usefixtures("stable")
@pytest.mark.parametrize("counts", [(3, 2), (1, 0, 4), (5,)])
def test_boxes_and_corners_cost_what_the_published_criterion_says(counts: tuple[int, ...]) -> None:
    truth = targets(counts)
    outputs = random_outputs(truth)
    ours, theirs = deim_losses(outputs, truth), published(outputs, truth)
    compared = {name for name in theirs if not name.startswith("vfl")}
    last_denoising = f"ddf_dn_{LAYERS - 1}"  # the last layer learns nothing from itself
    assert float(theirs[last_denoising].detach()) == 0 and last_denoising not in ours
    assert compared - {last_denoising} == {name for name in ours if not name.startswith("mal")}
    for name in compared - {last_denoising}:
        torch.testing.assert_close(ours[name], theirs[name], rtol=2e-5, atol=1e-6, msg=name)


@pytest.mark.usefixtures("stable")
def test_gradients_are_those_of_the_published_criterion() -> None:
    truth = targets((3, 2))
    outputs = random_outputs(truth)
    wanted = [outputs.encoder.boxes, outputs.queries.pre.boxes]
    wanted += [
        x for layer in outputs.queries.layers for x in (layer.boxes, layer.corners) if x is not None
    ]
    both = []
    for losses in (deim_losses(outputs, truth), published(outputs, truth)):
        total = sum(v for k, v in losses.items() if not k.startswith(("mal", "vfl")))
        both.append(torch.autograd.grad(total, wanted))
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=1e-6)


def test_matchability_aware_loss_by_hand() -> None:
    """DEIM eq. 3: -q^γ log p - (1 - q^γ) log(1 - p) where matched, else -p^γ log(1 - p)."""
    truth = targets((2,))
    outputs = random_outputs(truth)
    last = outputs.queries.layers[-1]
    (queries, boxes), *_ = match(last.logits[None], last.boxes[None], truth)[0]
    partner = dict(zip(queries.tolist(), boxes.tolist(), strict=True))
    total = 0.0
    for query in range(QUERIES):
        for label in range(CLASSES):
            p = 1 / (1 + math.exp(-float(last.logits[0, query, label].detach())))
            box = partner.get(query)
            if box is not None and int(truth[0]["labels"][box]) == label:
                q = overlap(last.boxes[0, query].tolist(), truth[0]["boxes"][box].tolist()) ** 1.5
                total -= q * math.log(p) + (1 - q) * math.log(1 - p)
            else:
                total -= p**1.5 * math.log(1 - p)
    assert float(deim_losses(outputs, truth)["mal"].detach()) == pytest.approx(total / 2, rel=1e-5)


def overlap(a: list[float], b: list[float]) -> float:
    sides = []
    for axis in (0, 1):
        low = max(a[axis] - a[axis + 2] / 2, b[axis] - b[axis + 2] / 2)
        sides.append(max(min(a[axis] + a[axis + 2] / 2, b[axis] + b[axis + 2] / 2) - low, 0))
    inter = sides[0] * sides[1]
    return inter / (a[2] * a[3] + b[2] * b[3] - inter)


def test_the_united_matching_keeps_the_box_that_most_layers_chose() -> None:
    layers = [([0, 1], [0, 1]), ([0, 1], [1, 0]), ([0, 2], [0, 1])]
    matchings = [[(np.array(q), np.array(b))] for q, b in layers]
    ((queries, boxes),) = unite(matchings)
    # query 0: box 0 twice, box 1 once. query 1: a tie, which the lower box wins. query 2: box 1.
    assert queries.tolist() == [0, 1, 2] and boxes.tolist() == [0, 0, 1]


def test_more_boxes_than_queries() -> None:
    truth = targets((9,))
    logits, boxes = torch.zeros(1, 1, 4, CLASSES), torch.full((1, 1, 4, 4), 0.5)
    ((queries, matched),) = match(logits, boxes, truth)[0]
    assert len(queries) == 4 and len(set(matched.tolist())) == 4


# On the network


@pytest.mark.parametrize("side", [64, 256])
def test_every_layer_is_taught(side: int) -> None:
    """Class, box and corner outputs of every layer, of queries and denoising, get a gradient.

    In the loss that comes with transformers, the layer before the last gets none at all.
    """
    torch.manual_seed(0)
    network = build_network("deim-n", CLASSES, side).train()
    truth = targets((2, 1))
    outputs = training_outputs(network, torch.rand(2, 3, side, side), truth)
    assert outputs.denoising is not None
    layers = {"encoder": outputs.encoder}
    for name, queries in (("own", outputs.queries), ("noisy", outputs.denoising)):
        layers[f"{name} pre"] = queries.pre
        layers |= {f"{name} {k}": layer for k, layer in enumerate(queries.layers)}
    assert len(layers) == 1 + 2 * (1 + 3)
    tensors = {
        f"{name} {part}": getattr(layer, part)
        for name, layer in layers.items()
        for part in ("logits", "boxes", "corners")
        if getattr(layer, part) is not None
    }
    total = torch.stack(list(deim_losses(outputs, truth).values())).sum()
    gradients = torch.autograd.grad(total, list(tensors.values()), allow_unused=True)
    reached = {
        name: gradient is not None and float(gradient.abs().sum()) > 0
        for name, gradient in zip(tensors, gradients, strict=True)
    }
    assert all(reached.values()), reached


def test_every_parameter_is_taught_once_the_heads_have_moved() -> None:
    torch.manual_seed(0)
    network = build_network("deim-n", CLASSES, 64).train()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:  # heads and gates start at zero, and pass nothing on
                parameter.add_(0.02 * torch.randn_like(parameter))
    truth = targets((2, 1))
    outputs = training_outputs(network, torch.rand(2, 3, 64, 64), truth)
    torch.stack(list(deim_losses(outputs, truth).values())).sum().backward()
    silent = {
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
        and not name.endswith("lab.bias")  # a shift, which the next batch norm takes away
        and (parameter.grad is None or not parameter.grad.abs().sum())
    }
    assert not silent


def test_a_batch_without_any_box() -> None:
    torch.manual_seed(0)
    network = build_network("deim-n", CLASSES, 64).train()
    truth = targets((0, 0))
    outputs = training_outputs(network, torch.rand(2, 3, 64, 64), truth)
    losses = deim_losses(outputs, truth)
    assert outputs.denoising is None
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert bool(total.isfinite()) and float(losses["mal"].detach()) > 0
    assert all(float(v.detach()) == 0 for k, v in losses.items() if k.startswith(("bbox", "giou")))
    bias = network.get_submodule("model.decoder.class_embed.2").bias.grad
    assert bias is not None and bool((bias > 0).all())  # towards "nothing here"


def test_weights_are_the_published_ones() -> None:
    assert WEIGHTS == {"mal": 1, "bbox": 5, "giou": 2, "fgl": 0.15, "ddf": 1.5}
