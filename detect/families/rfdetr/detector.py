"""The RF-DETR family: Roboflow's network with its own losses and learning rates."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detect.detectors.card import ModelSpec
from detect.detectors.checkpoints import State, read_state
from detect.detectors.detr import QuerySteps
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
from detect.training.loop.plan import Average, Plan, Target
from detect.training.loop.training import Learner

CLIP = 0.1
AVERAGE = Average(decay=0.993, warmup=100)


class RfDetrDetector(Learner):
    """RF-DETR in our training loop."""

    steps = QuerySteps
    build_network = staticmethod(build_network)
    count_parameters = staticmethod(count_parameters)

    def __init__(self, spec: ModelSpec, network: nn.Module, device: torch.device) -> None:
        """Wrap a network; use `create` or `load`."""
        super().__init__(spec, network, device)
        self.criterion = build_criterion(len(spec.classes))

    def read_weights(self, path: Path, trust: bool) -> State:
        """Read a weight file of the package, of any size of input."""
        state = read_state(path, trust, load_published)
        return fitted(state, self.network, self.spec.model, path)

    def plan(self, settings: TrainSettings, steps: int) -> Plan:
        """Return RF-DETR's optimiser and schedule, as published."""
        decay = WEIGHT_DECAY if settings.weight_decay is None else settings.weight_decay
        return Plan(
            groups=parameter_groups(self.network, settings.lr or LR, decay),
            lr_factor=warm_constant(settings.epochs, steps, settings.warmup_epochs),
            average=AVERAGE,
            clip=CLIP,
        )

    def losses(self, images: torch.Tensor, targets: list[Target]) -> dict[str, torch.Tensor]:
        """Return RF-DETR's losses of a batch."""
        outputs = run(self.network, images)
        with torch.autocast(images.device.type, enabled=False):
            return rfdetr_losses(self.criterion, outputs, targets)

    def deploy(self) -> nn.Module:
        """Copy the network; all after its backbone runs in float32."""
        return decode_exactly(self.network)

    def raw_output(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that it returns logits and boxes."""
        return RawOutput(network, len(self.spec.classes))

    def traceable(self) -> nn.Module:
        """Copy the network for export, without the checks that tracing cannot follow."""
        network: Any = deepcopy(self.network).eval().cpu()
        network.export()
        return self.raw_output(network)


FAMILY = RfDetrDetector
