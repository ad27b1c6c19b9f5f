"""The DEIM family: D-FINE trained the DEIM way."""

from pathlib import Path

import torch
from torch import nn

from detect.detectors.checkpoints import State, read_state
from detect.detectors.detr import QuerySteps
from detect.detectors.runtimes.half import keep_exact
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
from detect.training.loop.plan import Plan, Target, group_parameters
from detect.training.loop.training import Learner

LR, WEIGHT_DECAY = 8e-4, 1e-4  # DEIM-N's
BACKBONE_FACTOR = 0.5  # of the learning rate
CLIP = 0.1


class DeimDetector(Learner):
    """D-FINE with DEIM's losses, augmentation and schedules."""

    steps = QuerySteps
    build_network = staticmethod(build_network)
    count_parameters = staticmethod(count_parameters)

    def read_weights(self, path: Path, trust: bool) -> State:
        """Read a weight file with the names of transformers' D-FINE."""
        return published_names(read_state(path, trust))

    def plan(self, settings: TrainSettings, steps: int) -> Plan:
        """Return DEIM's optimiser and stages, each the share of the training that was published."""
        lr = settings.lr or LR
        decay = WEIGHT_DECAY if settings.weight_decay is None else settings.weight_decay

        def rates(name: str, parameter: nn.Parameter) -> tuple[float, float]:
            rate = lr * BACKBONE_FACTOR if ".backbone." in name else lr
            return rate, 0.0 if parameter.ndim < 2 else decay  # norms and biases do not decay

        course = stages(settings.epochs)
        return Plan(
            groups=group_parameters(self.network, rates),
            lr_factor=flat_cosine(course, steps, settings.warmup_epochs),
            average=average(steps * settings.epochs),
            clip=CLIP,
            augmentation=course.augmentation,
            restart=course.plain if course.plain < course.end else None,
        )

    def losses(self, images: torch.Tensor, targets: list[Target]) -> dict[str, torch.Tensor]:
        """Return DEIM's losses of a batch."""
        outputs = training_outputs(self.network, images, targets)
        with torch.autocast(images.device.type, enabled=False):
            return deim_losses(outputs, targets) | {"unused": unused(self.network)}

    def deploy(self) -> nn.Module:
        """Copy the network as D-FINE deploys it."""
        deployed = deploy(self.network)
        keep_exact(deployed.get_submodule("model.decoder"))
        return deployed

    def raw_output(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that it returns logits and boxes."""
        return RawOutput(network)

    def traceable(self) -> nn.Module:
        """Copy the network for export, as deployed."""
        return RawOutput(deploy(self.network).cpu())


FAMILY = DeimDetector
