"""The base of every detector family: its files, its training and its boxes around a network."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from converters.core.boxes import Boxes
from converters.dataset.split import Split
from detect.detectors.card import ModelSpec, Parameters
from detect.detectors.checkpoints import State, load_network, save_network, transfer
from detect.detectors.device import choose_device
from detect.detectors.predictor import Steps, find_boxes
from detect.detectors.runtimes.eager import TorchRuntime
from detect.detectors.runtimes.half import half_on
from detect.detectors.settings import TrainSettings


@dataclass(frozen=True)
class TrainingRun:
    """One training: its data, its settings and its folder.

    Attributes:
        train: slices to learn from.
        val: slices that are scored after each epoch.
        settings: as resolved.
        folder: gets `history.csv`, `weights/` and whatever `resume` needs.
        resume: go on from what lies in `folder`.
        advance: is called once an epoch with a short note.
    """

    train: Split
    val: Split
    settings: TrainSettings
    folder: Path
    resume: bool = False
    advance: Callable[[str], None] = lambda note: None

    @property
    def weights(self) -> Path:
        """Folder of the weight files and of `resume.pt`."""
        return self.folder / "weights"


class Detector(ABC):
    """A detector of one family; it satisfies `Predictor`.

    Attributes:
        steps: the class of the family's steps around its network.
        spec: what the detector is; `model.json` stores it.
        network: as trained.
        device: of the network.
    """

    steps: ClassVar[type[Steps]]

    def __init__(self, spec: ModelSpec, network: nn.Module, device: torch.device) -> None:
        """Wrap a network; use `create` or `load`."""
        self.spec, self.device = spec, device
        self.network = network.to(device)
        self._deployed: nn.Module | None = None

    @classmethod
    def create(cls, spec: ModelSpec, device: str) -> Self:
        """Build the network with fresh weights."""
        network = cls.build_network(spec.model, len(spec.classes), spec.imgsz)
        return cls(spec, network, choose_device(device))

    @classmethod
    def load(cls, spec: ModelSpec, weights: Path, device: str) -> Self:
        """Build the network with the weights that `save` wrote.

        Raises:
            InputError: they do not fit.
        """
        detector = cls.create(spec, device)
        load_network(detector.network, weights)
        return detector

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        save_network(self.network, path)

    def load_weights(self, path: Path, trust: bool) -> None:
        """Start from a weight file; layers of another class count keep their initial values.

        Args:
            path: safetensors, or a checkpoint of the family's own format.
            trust: allow full unpickling, which can run code of the file's author.

        Raises:
            InputError: unreadable, unsafe without `trust`, or of another architecture.
        """
        self._deployed = None
        transfer(self.network, self.read_weights(path, trust), path)

    def train(self, run: TrainingRun) -> Path:
        """Train and leave the weights of the epoch that is kept in the network.

        Returns:
            The file of these weights in the run's folder, see `kept_weights`.

        Raises:
            InputError: nothing to resume from, or training cannot go on (divergence, memory).
        """
        self._deployed = None
        kept = self.fit(run)
        self.network.to(self.device)
        load_network(self.network, kept)
        return kept

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Find boxes, see `Predictor`; the network is deployed at the first call."""
        if self._deployed is None:
            self._deployed = self.deploy()
        return self.predict_with(self._deployed, images, half_on(self.device))

    def predict_with(
        self,
        network: nn.Module,
        images: Sequence[NDArray[np.uint8]],
        half: torch.dtype | None = None,
    ) -> list[Boxes]:
        """Find boxes with any copy of the network in evaluation mode, see `Predictor`.

        Args:
            network: as trained or as deployed.
            images: as for `predict`.
            half: precision of autocast; None is float32 throughout.
        """
        runtime = TorchRuntime(self.raw_output(network), self.device, half)
        return find_boxes(self.steps(self.spec), runtime, images)

    @staticmethod
    @abstractmethod
    def build_network(model: str, classes: int, imgsz: int) -> nn.Module:
        """Build a network with fresh weights on the CPU, for an input of `imgsz` px a side."""

    @staticmethod
    @abstractmethod
    def count_parameters(model: str, classes: int) -> Parameters:
        """Count the parameters of the built network, as trained and as deployed."""

    @abstractmethod
    def read_weights(self, path: Path, trust: bool) -> State:
        """Read the tensors of a weight file under the names that they have in the network.

        Raises:
            InputError: unreadable, unsafe without `trust`, or of another variant.
        """

    @abstractmethod
    def fit(self, run: TrainingRun) -> Path:
        """Train the network and return the weight file that is kept; see `train`."""

    @abstractmethod
    def deploy(self) -> nn.Module:
        """Copy the network for prediction: evaluation mode, boxes decoded in float32."""

    @abstractmethod
    def raw_output(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that it returns only the raw outputs that `steps` decodes."""

    @abstractmethod
    def traceable(self) -> nn.Module:
        """Copy the network for export: plain torch operations, evaluation mode, on the CPU.

        Returns:
            ``(n, 3, side, side)`` in [0, 1] → a tuple of the family's raw outputs, see `Steps`.
        """
