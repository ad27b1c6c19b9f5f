"""Half precision as on a GPU, run on the CPU: boxes stay near, decoding stays exact.

None of this has run on a GPU here: autocast is the same code on both, its kernels are not.
"""

from typing import Any

import numpy as np
import pytest
import torch

from converters.preprocessing.windowing import Window
from detect.detectors.card import ModelSpec
from detect.detectors.registry import create_detector, family_of
from detect.detectors.runtimes.eager import TorchRuntime
from detect.detectors.runtimes.half import half_on, keep_exact

HALVES = [torch.bfloat16, torch.float16]
CPU = torch.device("cpu")


def test_only_gpus_halve() -> None:
    assert half_on(CPU) is None
    assert half_on(torch.device("cuda:1")) == torch.float16


def detector(model: str, side: int) -> Any:
    spec = ModelSpec(
        family=family_of(model), model=model, classes=["a", "b"],
        window=Window(level=0, width=400), imgsz=side,
    )  # fmt: skip
    torch.manual_seed(3)
    return create_detector(spec, "cpu")


@pytest.mark.parametrize("half", HALVES)
def test_yolo_boxes_of_half_precision_are_near(half: torch.dtype) -> None:
    """Boxes stay within a fraction of a pixel; decoding in half precision would lose more."""
    from detect.families.ultralytics.network import RawOutput, decode_exactly, deploy

    side = 256
    network = deploy(detector("yolov8n", side).network)
    batch = np.random.default_rng(0).random((2, 3, side, side), np.float32)
    (rough,) = TorchRuntime(RawOutput(network), CPU, half)(batch)
    network = deploy(detector("yolov8n", side).network)  # the head keeps what it made of anchors
    (exact,) = TorchRuntime(RawOutput(network), CPU)(batch)
    decode_exactly(network)
    (again,) = TorchRuntime(RawOutput(network), CPU)(batch)
    assert (exact == again).all()
    inside: list[torch.dtype] = []
    network.model[0].register_forward_hook(lambda *given: inside.append(given[-1].dtype))  # type: ignore[union-attr,operator]
    (near,) = TorchRuntime(RawOutput(network), CPU, half)(batch)
    assert inside == [half] and near.dtype == np.float32
    off, lost = (np.abs(predicted - exact)[:, :4].max() for predicted in (near, rough))
    assert 0 < off < 0.25 and off < lost
    assert np.abs(near - exact)[:, 4:].max() < 0.01


@pytest.mark.parametrize("model", ["deim-n", "rfdetr-nano", "rtdetr-l"])
def test_queries_are_decoded_exactly(model: str) -> None:
    """Queries are decoded exactly. Boxes may differ: half precision chooses the queries."""
    side = 64
    original = detector(model, side)
    if model == "deim-n":
        from detect.families.deim.network import RawOutput, deploy

        network = deploy(original.network)
        keep_exact(network.model.decoder)
        raw: Any = RawOutput(network)
        body, decoder = network.model.backbone, network.model.decoder.layers[-1]
        body = next(layer for layer in body.modules() if isinstance(layer, torch.nn.Conv2d))
    elif model == "rfdetr-nano":
        from detect.families.rfdetr import network as rfdetr

        network = rfdetr.decode_exactly(original.network)
        raw = rfdetr.RawOutput(network, 2)
        body = network.backbone[0].encoder.encoder.encoder.layer[0].attention
        decoder = network.transformer.decoder.layers[-1]
    else:
        from detect.families.ultralytics import network as yolo

        network = yolo.deploy(original.network)
        yolo.decode_exactly(network)
        raw = yolo.RawOutput(network)
        body, decoder = network.model[0].stem1.conv, network.model[-1].decoder.layers[-1]
    seen: dict[str, torch.dtype] = {}

    def note(name: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            while not isinstance(output, torch.Tensor):
                output = next(iter(output.values() if isinstance(output, dict) else output))
            seen[name] = output.dtype

        return hook

    body.register_forward_hook(note("body"))
    decoder.register_forward_hook(note("decoder"))
    batch = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    outputs = TorchRuntime(raw, CPU, torch.bfloat16)(batch)
    assert seen == {"body": torch.bfloat16, "decoder": torch.float32}
    assert all(part.dtype == np.float32 and np.isfinite(part).all() for part in outputs)


def test_what_leaves_the_range_of_half_precision_runs_again() -> None:
    layer = torch.nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.fill_(5e4)
    calls: list[torch.dtype] = []

    class Network(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            out = layer(images)
            calls.append(out.dtype)
            return (out,)

    batch = np.ones((1, 4), np.float32)
    (output,) = TorchRuntime(Network(), CPU, torch.float16)(batch)
    assert calls == [torch.float16, torch.float32]
    np.testing.assert_allclose(output, 2e5, rtol=1e-3)
