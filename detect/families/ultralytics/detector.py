"""The ultralytics family: YOLO and RT-DETR."""

from pathlib import Path

from torch import nn

from detect.detectors.base import Detector, TrainingRun
from detect.detectors.checkpoints import State, read_state
from detect.detectors.runtimes.eager import channels_last
from detect.families.ultralytics.network import (
    RawOutput,
    build_network,
    count_parameters,
    decode_exactly,
    deploy,
    load_checkpoint,
)
from detect.families.ultralytics.steps import UltralyticsSteps


class UltralyticsDetector(Detector):
    """A YOLO or RT-DETR, trained by ultralytics' loop."""

    steps = UltralyticsSteps
    build_network = staticmethod(build_network)
    count_parameters = staticmethod(count_parameters)

    def read_weights(self, path: Path, trust: bool) -> State:
        """Read safetensors or a checkpoint of ultralytics."""
        return read_state(path, trust, load_checkpoint)

    def fit(self, run: TrainingRun) -> Path:
        """Train by ultralytics' loop."""
        # what only trains (albumentations above all) takes a second to import
        from detect.families.ultralytics.training import train_network

        return train_network(self, run)

    def deploy(self) -> nn.Module:
        """Copy the network and fold its batch norms."""
        deployed = channels_last(deploy(self.network))
        decode_exactly(deployed)
        return deployed

    def raw_output(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that it returns its one output."""
        return RawOutput(network)

    def traceable(self) -> nn.Module:
        """Copy the network for export, fused."""
        return RawOutput(deploy(self.network).cpu())


FAMILY = UltralyticsDetector
