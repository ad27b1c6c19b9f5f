"""The DEIM family behind the common protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from converters.core.boxes import Boxes
from converters.dataset.split import Split
from detect.detectors.card import ModelSpec, Parameters
from detect.detectors.checkpoints import load_network, read_state, save_network, transfer
from detect.detectors.detr import QuerySteps
from detect.detectors.device import choose_device
from detect.detectors.predictor import find_boxes
from detect.detectors.protocol import Advance
from detect.detectors.runtimes.eager import TorchRuntime
from detect.detectors.runtimes.half import half_on, keep_exact
from detect.detectors.settings import TrainSettings
from detect.families.deim.criterion import deim_losses
from detect.families.deim.network import (
    RawOutput,
    build_network,
    count_parameters,
    deploy,
    published_names,
    training_outputs,
    unused,
)
from detect.families.deim.schedule import average, flat_cosine, stages
from detect.training.history import kept_weights
from detect.training.loop.plan import Plan, Target
from detect.training.loop.training import steps_per_epoch, train_network

LR, WEIGHT_DECAY = 8e-4, 1e-4  # DEIM-N's
BACKBONE_FACTOR = 0.5  # of the learning rate
CLIP = 0.1


class DeimDetector:
    """D-FINE trained the DEIM way."""

    def __init__(self, spec: ModelSpec, network: nn.Module, device: torch.device) -> None:
        """Wrap a network; use `create` or `load`."""
        self.spec = spec
        self.device = device
        self.network = network.to(device)
        self._deployed: Any = None

    @classmethod
    def count_parameters(cls, model: str, classes: int) -> Parameters:
        """Count the parameters of the built network, as trained and as deployed."""
        return count_parameters(model, classes)

    @classmethod
    def create(cls, spec: ModelSpec, device: str) -> Self:
        """Build the network with fresh weights."""
        network = build_network(spec.model, len(spec.classes), spec.imgsz)
        return cls(spec, network, choose_device(device))

    @classmethod
    def load(cls, spec: ModelSpec, weights: Path, device: str) -> Self:
        """Build the network with saved weights."""
        detector = cls.create(spec, device)
        load_network(detector.network, weights)
        return detector

    def load_weights(self, path: Path, trust: bool) -> None:
        """Start from a weight file with the names of transformers' D-FINE."""
        transfer(self.network, published_names(read_state(path, trust)), path)

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        save_network(self.network, path)

    def train(
        self,
        train: Split,
        val: Split,
        settings: TrainSettings,
        run_dir: Path,
        resume: bool,
        advance: Advance,
    ) -> Path:
        """Train; the network ends with the weights of the file that is returned."""
        self._deployed = None
        plan = _plan(self.network, settings, steps_per_epoch(train, settings))
        train_network(
            self, plan, self.spec, self.device, train, val, settings, run_dir, resume, advance
        )
        self.network.to(self.device)
        kept = kept_weights(run_dir, settings.epochs)
        load_network(self.network, kept)
        return kept

    def losses(self, images: torch.Tensor, targets: list[Target]) -> dict[str, torch.Tensor]:
        """Return DEIM's losses of a batch."""
        outputs = training_outputs(self.network, images, targets)
        with torch.autocast(images.device.type, enabled=False):
            return deim_losses(outputs, targets) | {"unused": unused(self.network)}

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Find boxes; the network is deployed at the first call."""
        if self._deployed is None:
            self._deployed = deploy(self.network)
            keep_exact(self._deployed.model.decoder)
        return self._boxes(self._deployed, images, half_on(self.device))

    def predict_with(self, network: nn.Module, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Find boxes with any copy of the network."""
        return self._boxes(network, images)

    def _boxes(
        self,
        network: nn.Module,
        images: Sequence[NDArray[np.uint8]],
        half: torch.dtype | None = None,
    ) -> list[Boxes]:
        runtime = TorchRuntime(RawOutput(network), self.device, half)
        return find_boxes(QuerySteps(self.spec), runtime, images)

    def traceable(self) -> nn.Module:
        """Return a copy to export, as deployed."""
        return RawOutput(deploy(self.network).cpu())


FAMILY = DeimDetector


def _plan(network: nn.Module, settings: TrainSettings, steps: int) -> Plan:
    """DEIM's optimiser and stages, each the share of the training that was published."""
    lr = settings.lr or LR
    decay = WEIGHT_DECAY if settings.weight_decay is None else settings.weight_decay
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = lr * BACKBONE_FACTOR if ".backbone." in name else lr
        bare = parameter.ndim < 2  # norms and biases do not decay
        groups.setdefault((rate, 0.0 if bare else decay), []).append(parameter)
    course = stages(settings.epochs)
    return Plan(
        groups=[
            {"params": own, "lr": rate, "weight_decay": fall}
            for (rate, fall), own in groups.items()
        ],
        lr_factor=flat_cosine(course, steps, settings.warmup_epochs),
        average=average(steps * settings.epochs),
        clip=CLIP,
        augmentation=course.augmentation,
        restart=course.plain if course.plain < course.end else None,
    )
