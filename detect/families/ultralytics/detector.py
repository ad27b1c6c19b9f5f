"""The ultralytics family behind the common protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from converters.dataset.split import Split
from detect.detectors.card import ModelSpec, Parameters
from detect.detectors.checkpoints import load_network, read_state, save_network, transfer
from detect.detectors.device import choose_device
from detect.detectors.protocol import Advance
from detect.detectors.runtimes.eager import channels_last
from detect.detectors.runtimes.half import half_on
from detect.detectors.settings import TrainSettings
from detect.families.ultralytics.network import (
    RawOutput,
    build_network,
    count_parameters,
    decode_exactly,
    deploy,
    load_checkpoint,
    predict_boxes,
)
from detect.training.history import kept_weights


class UltralyticsDetector:
    """A YOLO or RT-DETR."""

    def __init__(self, spec: ModelSpec, network: torch.nn.Module, device: torch.device) -> None:
        """Wrap a network; use `create` or `load`."""
        self.spec = spec
        self.device = device
        self.network = network.to(device)
        self._deployed: torch.nn.Module | None = None

    @classmethod
    def count_parameters(cls, model: str, classes: int) -> Parameters:
        """Count the parameters of the built network, before and after fusing."""
        return count_parameters(model, classes)

    @classmethod
    def create(cls, spec: ModelSpec, device: str) -> Self:
        """Build the network with fresh weights."""
        return cls(
            spec, build_network(spec.model, len(spec.classes), spec.imgsz), choose_device(device)
        )

    @classmethod
    def load(cls, spec: ModelSpec, weights: Path, device: str) -> Self:
        """Build the network with saved weights."""
        detector = cls.create(spec, device)
        load_network(detector.network, weights)
        return detector

    def load_weights(self, path: Path, trust: bool) -> None:
        """Start from a weight file."""
        transfer(self.network, read_state(path, trust, load_checkpoint), path)

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
        # what only trains (albumentations above all) takes a second to import
        from detect.families.ultralytics.training import train_network

        self._deployed = None
        train_network(
            self.spec, self.network, self.device, train, val, settings, run_dir, resume, advance
        )
        kept = kept_weights(run_dir, settings.epochs)
        load_network(self.network, kept)
        return kept

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Find boxes; the network is fused at the first call."""
        if self._deployed is None:
            self._deployed = channels_last(deploy(self.network))
            decode_exactly(self._deployed)
        half = half_on(self.device)
        return predict_boxes(self._deployed, self.spec, images, self.device, half)

    def traceable(self) -> torch.nn.Module:
        """Return a copy to export, fused."""
        return RawOutput(deploy(self.network).cpu())


FAMILY = UltralyticsDetector
