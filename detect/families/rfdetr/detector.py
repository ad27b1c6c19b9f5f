"""The RF-DETR family behind the common protocol."""

from collections.abc import Sequence
from copy import deepcopy
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
from detect.detectors.runtimes.half import half_on
from detect.detectors.settings import TrainSettings
from detect.families.rfdetr.criterion import build_criterion, rfdetr_losses
from detect.families.rfdetr.network import (
    RawOutput,
    build_network,
    count_parameters,
    decode_exactly,
    fitted,
    load_published,
    run,
)
from detect.families.rfdetr.schedule import LR, WEIGHT_DECAY, parameter_groups, warm_constant
from detect.training.history import kept_weights
from detect.training.loop.plan import Average, Plan, Target
from detect.training.loop.training import steps_per_epoch, train_network

CLIP = 0.1
AVERAGE = Average(decay=0.993, warmup=100)


class RfDetrDetector:
    """RF-DETR with its own losses and learning rates."""

    def __init__(self, spec: ModelSpec, network: nn.Module, device: torch.device) -> None:
        """Wrap a network; use `create` or `load`."""
        self.spec = spec
        self.device = device
        self.network = network.to(device)
        self._exact: nn.Module | None = None
        self.criterion = build_criterion(len(spec.classes))

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
        """Start from a weight file of the package, of any size of input."""
        state = read_state(path, trust, load_published)
        transfer(self.network, fitted(state, self.network, self.spec.model, path), path)

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
        self._exact = None
        decay = WEIGHT_DECAY if settings.weight_decay is None else settings.weight_decay
        steps = steps_per_epoch(train, settings)
        plan = Plan(
            groups=parameter_groups(self.network, settings.lr or LR, decay),
            lr_factor=warm_constant(settings.epochs, steps, settings.warmup_epochs),
            average=AVERAGE,
            clip=CLIP,
        )
        train_network(
            self, plan, self.spec, self.device, train, val, settings, run_dir, resume, advance
        )
        self.network.to(self.device)
        kept = kept_weights(run_dir, settings.epochs)
        load_network(self.network, kept)
        return kept

    def losses(self, images: torch.Tensor, targets: list[Target]) -> dict[str, torch.Tensor]:
        """Return RF-DETR's losses of a batch."""
        outputs = run(self.network, images)
        with torch.autocast(images.device.type, enabled=False):
            return rfdetr_losses(self.criterion, outputs, targets)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Find boxes."""
        half = half_on(self.device)
        if half is None:
            return self.predict_with(self.network.eval(), images)
        if self._exact is None:
            self._exact = decode_exactly(self.network)
        return self._boxes(self._exact, images, half)

    def predict_with(self, network: nn.Module, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Find boxes with any copy of the network."""
        return self._boxes(network, images)

    def _boxes(
        self,
        network: nn.Module,
        images: Sequence[NDArray[np.uint8]],
        half: torch.dtype | None = None,
    ) -> list[Boxes]:
        raw = RawOutput(network, len(self.spec.classes))
        return find_boxes(QuerySteps(self.spec), TorchRuntime(raw, self.device, half), images)

    def traceable(self) -> nn.Module:
        """Return a copy to export, without the checks that tracing cannot follow."""
        network: Any = deepcopy(self.network).eval().cpu()
        network.export()
        return RawOutput(network, len(self.spec.classes))


FAMILY = RfDetrDetector
