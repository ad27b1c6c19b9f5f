"""The RF-DETR adapter: classes, sizes, losses, rates, weight files."""

import importlib.util
import os
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.preprocessing.windowing import Window
from detect.detectors.card import ModelSpec
from detect.detectors.protocol import MAX_DETECTIONS, SCORE_FLOOR
from detect.detectors.registry import count_parameters
from detect.families.rfdetr.detector import RfDetrDetector
from detect.families.rfdetr.network import build_network, run
from detect.families.rfdetr.schedule import parameter_groups, warm_constant
from detect.workflows.train import train
from tests.helpers.tiny import SETTINGS


def spec(imgsz: int = 64, model: str = "rfdetr-nano") -> ModelSpec:
    return ModelSpec(
        family="rfdetr",
        model=model,
        classes=["bright", "dark"],
        window=Window(level=0, width=400),
        imgsz=imgsz,
    )


def fresh(imgsz: int = 64) -> RfDetrDetector:
    torch.manual_seed(0)
    return RfDetrDetector.create(spec(imgsz), "cpu")


@pytest.fixture(scope="module")
def detector() -> RfDetrDetector:
    """A network with random weights; not to be changed."""
    return fresh()


def target(*boxes: tuple[int, float, float, float, float]) -> dict[str, torch.Tensor]:
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)
    return {"labels": rows[:, 0].long(), "boxes": rows[:, 1:]}


def pictures(*shapes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, shape, dtype=np.uint8) for shape in shapes]


# The network


@pytest.mark.parametrize(
    ("model", "millions"),
    [
        ("rfdetr-nano", 30.5),
        ("rfdetr-small", 32.1),
        ("rfdetr-medium", 33.7),
        ("rfdetr-large", 33.9),
    ],
)
def test_parameters_are_the_published_ones(model: str, millions: float) -> None:
    """Roboflow's table counts what is trained, with COCO's 90 classes."""
    count = count_parameters(model, 90)
    assert round(count.unfused / 1e6, 1) == millions
    hidden, per_query = 256, 256 + 4
    head = 2 * hidden + (hidden + 1) * (hidden + 91 + 2 * hidden + 4)  # norm, linear, class, boxes
    assert count.unfused - count.fused == 12 * (300 * per_query + head)


def test_what_is_not_deployed_is_not_used(detector: RfDetrDetector) -> None:
    """The network with one group of queries gives the same boxes."""
    deployed = build_network("rfdetr-nano", 2, 64, groups=1).eval()
    state = detector.network.state_dict()
    deployed.load_state_dict({k: state[k][: len(v)] for k, v in deployed.state_dict().items()})
    (a,) = detector.predict(pictures((64, 64)))
    (b,) = detector.predict_with(deployed, pictures((64, 64)))
    np.testing.assert_array_equal(a.xyxy, b.xyxy)
    np.testing.assert_array_equal(a.score, b.score)


def test_classes_begin_at_zero_and_the_logit_more_says_nothing(detector: RfDetrDetector) -> None:
    """Truth of class k teaches logit k, and no other, to say yes."""
    images = torch.rand(1, 3, 64, 64)
    detector.network.train()
    bias = detector.network.get_parameter("class_embed.bias")
    for label in (0, 1):
        losses = detector.losses(images, [target((label, 0.5, 0.5, 0.3, 0.3))])
        (gradient,) = torch.autograd.grad(losses["loss_ce"], bias)
        assert (gradient < 0).tolist() == [label == k for k in range(3)]
    before = detector.predict(pictures((64, 64)))[0]
    with torch.no_grad():
        bias[2] += 100
        after = detector.predict(pictures((64, 64)))[0]
        bias[2] -= 100
    np.testing.assert_array_equal(before.score, after.score)
    assert set(after.label.tolist()) == {0, 1}


def test_pictures_are_normalised_as_the_published_weights_expect(detector: RfDetrDetector) -> None:
    from torchvision.transforms.functional import normalize

    images = torch.rand(1, 3, 64, 64)
    detector.network.eval()
    with torch.no_grad():
        ours = run(detector.network, images)
        theirs = detector.network(normalize(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    torch.testing.assert_close(ours["pred_boxes"], theirs["pred_boxes"])


def check_boxes(detections: Boxes, shape: tuple[int, int]) -> None:
    height, width = shape
    assert (detections.xyxy >= 0).all() and (
        detections.xyxy <= [width, height, width, height]
    ).all()
    assert (detections.xyxy[:, :2] <= detections.xyxy[:, 2:]).all()
    assert 0 < len(detections) <= MAX_DETECTIONS and (np.diff(detections.score) <= 0).all()
    assert ((detections.score >= SCORE_FLOOR) & (detections.score <= 1)).all()
    assert set(detections.label.tolist()) <= {0, 1}


@pytest.mark.parametrize("imgsz", [32, 96, 320])
def test_any_multiple_of_32_is_taken(imgsz: int) -> None:
    """32 px are four cells, and so four queries; at 320 px there are more cells than queries."""
    sized = fresh(imgsz)
    shapes = [(48, 64), (70, 40)]
    detections = sized.predict(pictures(*shapes))
    for boxes, shape in zip(detections, shapes, strict=True):
        check_boxes(boxes, shape)
    assert len(detections[0]) == min(2 * min((imgsz // 16) ** 2, 300), MAX_DETECTIONS)
    sized.network.train()
    crowd = [(k % 2, 0.1 * k + 0.1, 0.5, 0.1, 0.1) for k in range(6)]  # more boxes than queries
    losses = sized.losses(torch.rand(1, 3, imgsz, imgsz), [target(*crowd)])
    assert all(loss.isfinite() for loss in losses.values())


def test_another_size_is_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"imgsz": 100})
    with pytest.raises(InputError, match=r"multiple of 32.*use 96") as caught:
        train("rfdetr-nano", tiny_dataset, out=tmp_path / "run", settings=settings)
    assert caught.value.path == "imgsz"


# Losses and rates


@pytest.mark.parametrize("batch", [[()], [(), ()], [((1, 0.5, 0.5, 0.2, 0.2),), ()]])
def test_negatives_teach_and_every_parameter_gets_a_gradient(
    detector: RfDetrDetector, batch: list
) -> None:
    """Every parameter gets a gradient, as training in several processes requires."""
    network = detector.network.train()
    network.zero_grad()
    losses = detector.losses(
        torch.rand(len(batch), 3, 64, 64), [target(*lesions) for lesions in batch]
    )
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert total.isfinite() and losses["loss_ce"] > 0
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    bias = network.get_parameter("class_embed.bias").grad
    assert bias is not None and (len(batch[0]) > 0 or bool((bias > 0).all()))
    network.zero_grad()


def test_losses_are_weighted_as_published(detector: RfDetrDetector) -> None:
    from rfdetr.config import RFDETRNanoConfig, TrainConfig
    from rfdetr.models.lwdetr import build_criterion_from_config

    config = RFDETRNanoConfig(num_classes=2, device="cpu")
    theirs, _ = build_criterion_from_config(config, TrainConfig(dataset_dir=".", output_dir="."))
    detector.network.train()
    outputs = run(detector.network, torch.rand(2, 3, 64, 64))
    truth = [target((0, 0.3, 0.4, 0.2, 0.1), (1, 0.7, 0.6, 0.3, 0.3)), target()]
    losses = theirs(outputs, truth)
    wanted = {k: theirs.weight_dict[k] * v for k, v in losses.items() if k in theirs.weight_dict}
    from detect.families.rfdetr.criterion import rfdetr_losses

    ours = rfdetr_losses(detector.criterion, outputs, truth)
    assert ours.keys() == wanted.keys() and len(ours) == 9
    for name, loss in ours.items():
        torch.testing.assert_close(loss, wanted[name])


def test_each_part_learns_at_its_published_rate(detector: RfDetrDetector) -> None:
    import rfdetr

    # by its path: importing it as a part of its package wants everything that trains
    path = Path(rfdetr.__file__).parent / "training" / "param_groups.py"
    module_spec = importlib.util.spec_from_file_location("param_groups", path)
    assert module_spec is not None and module_spec.loader is not None
    published_groups = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(published_groups)
    args = SimpleNamespace(
        lr=1e-4, lr_encoder=1.5e-4, lr_vit_layer_decay=0.8, lr_component_decay=0.7,
        weight_decay=1e-4, out_feature_indexes=[3, 6, 9, 12],
    )  # fmt: skip

    def of(key: str, groups: list[dict]) -> dict[int, float]:
        return {id(p): group.get(key, 1e-4) for group in groups for p in group["params"]}

    ours = parameter_groups(detector.network, 1e-4, 1e-4)
    theirs = published_groups.get_param_dict(args, detector.network)
    for key in ("lr", "weight_decay"):  # which the trainer sets to `args.weight_decay` if missing
        assert of(key, ours) == pytest.approx(of(key, theirs), rel=1e-9)
    assert len({round(group["lr"], 12) for group in ours}) == 16  # 14 of the backbone


def test_the_rate_rises_and_stays() -> None:
    factor = warm_constant(epochs=100, steps=10, warmup_epochs=3)
    assert factor(0) == pytest.approx(1 / 31) and factor(14) == pytest.approx(15 / 31)
    assert factor(30) == factor(999) == 1.0
    assert warm_constant(epochs=5, steps=10, warmup_epochs=3)(10) == 1.0  # a fifth at most


# Weight files


class Evil:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)


def published(path: Path, network: torch.nn.Module, **more: object) -> Path:
    """A checkpoint as the package saves it."""
    arguments = Namespace(num_queries=300, group_detr=13, class_names=["person"])
    torch.save({"model": network.state_dict(), "args": arguments, "epoch": 7, **more}, path)
    return path


def test_published_weights_fit_another_class_count_and_size(tmp_path: Path) -> None:
    given = build_network("rfdetr-nano", 90, 320)
    path = published(tmp_path / "coco.pth", given)
    detector = fresh(64)
    before = {k: v.clone() for k, v in detector.network.state_dict().items()}
    detector.load_weights(path, trust=False)
    state, taken = given.state_dict(), 0
    for name, tensor in detector.network.state_dict().items():
        if "class_embed" in name:
            assert torch.equal(tensor, before[name]), name
        elif name in ("refpoint_embed.weight", "query_feat.weight"):
            for group in range(13):  # of 300 queries there, and 16 here
                assert torch.equal(tensor[16 * group], state[name][300 * group])
        elif name.endswith("position_embeddings"):
            assert torch.equal(tensor[:, 0], state[name][:, 0])  # of the class token
            patches = state[name][:, 1:].view(20, 20, -1)
            corner = patches[:10, :10].mean((0, 1)) - patches[10:, 10:].mean((0, 1))
            ours = tensor[:, 1:].view(4, 4, -1)
            kept = ours[:2, :2].mean((0, 1)) - ours[2:, 2:].mean((0, 1))
            assert torch.corrcoef(torch.stack([corner, kept]))[0, 1] > 0.8  # top left stays there
        else:
            taken += 1
            assert torch.equal(tensor, state[name]), name
    assert taken > 400


def test_weights_of_another_variant_or_architecture(
    detector: RfDetrDetector, tmp_path: Path
) -> None:
    path = published(tmp_path / "small.pth", build_network("rfdetr-small", 2, 64))
    with pytest.raises(InputError, match="has 3 decoder layers, and rfdetr-nano has 2"):
        detector.load_weights(path, trust=False)
    torch.save({"model": {"a": torch.zeros(2)}}, path)
    with pytest.raises(InputError, match="another architecture"):
        detector.load_weights(path, trust=False)
    path.write_bytes(b"cut short")
    with pytest.raises(InputError, match="cut short"):
        detector.load_weights(path, trust=False)


@pytest.mark.parametrize("where", ["beside", "instead", "inside the arguments"])
def test_code_in_a_weight_file_is_refused_and_does_not_run(
    detector: RfDetrDetector, tmp_path: Path, where: str
) -> None:
    witness, path = tmp_path / "it-ran", tmp_path / "evil.pth"
    if where == "instead":
        torch.save(Evil(witness), path)
    elif where == "beside":
        published(path, detector.network, extra=Evil(witness))
    else:
        published(path, detector.network, args=Namespace(resume=Evil(witness)))
    with pytest.raises(InputError, match=r"run code when loaded.*--trust") as caught:
        detector.load_weights(path, trust=False)
    assert "\n" not in str(caught.value)
    assert not witness.exists()
    if where == "beside":  # the witness works: with trust it does run
        detector.load_weights(path, trust=True)
        assert witness.exists()
