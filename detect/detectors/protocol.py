"""What every detector family offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from detect.detectors.card import ModelSpec, Parameters

if TYPE_CHECKING:  # which exports run without
    import torch

    from converters.dataset.split import Split
    from detect.detectors.settings import TrainSettings

SCORE_FLOOR = 0.001  # raw detections reach the evaluator down to here …
MAX_DETECTIONS = 300  # … and up to so many an image

Advance = Callable[[str], None]


class Predictor(Protocol):
    """What finds boxes, in any runtime."""

    @property
    def spec(self) -> ModelSpec:
        """What it is."""

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Find boxes.

        Args:
            images: ``(rows, columns)`` grey or ``(rows, columns, 3)``, made as `spec` says.

        Returns:
            For each image its boxes in px of that image, best score first, down to
            `SCORE_FLOOR` and at most `MAX_DETECTIONS`.
        """


class Detector(Predictor, Protocol):
    """A detector of one family.

    Attributes:
        spec: what it is; `model.json` stores it.
    """

    spec: ModelSpec

    def load_weights(self, path: Path, trust: bool) -> None:
        """Start from a weight file; layers of another class count keep their initial values.

        Args:
            path: safetensors, or a checkpoint of the family's own format.
            trust: allow full unpickling, which can run code of the file's author.

        Raises:
            InputError: unreadable, unsafe without `trust`, or of another architecture.
        """

    def train(
        self,
        train: Split,
        val: Split,
        settings: TrainSettings,
        run_dir: Path,
        resume: bool,
        advance: Advance,
    ) -> Path:
        """Train and leave the weights of the epoch that is kept in the network.

        Args:
            train, val: what to learn from, and what says whether it still gets better.
            settings: as resolved.
            run_dir: gets `history.csv`, `weights/` and whatever `resume` needs.
            resume: go on from what lies in `run_dir`.
            advance: call once an epoch with a short note.

        Returns:
            The file of these weights in `run_dir`, see `kept_epoch`.

        Raises:
            InputError: nothing to resume from, or training cannot go on (divergence, memory).
        """

    def traceable(self) -> torch.nn.Module:
        """Copy the network for export: plain torch operations, evaluation mode, on the CPU.

        Returns:
            ``(n, 3, side, side)`` in [0, 1] → a tuple of the family's raw outputs, see `Steps`.
        """

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""

    @classmethod
    def count_parameters(cls, model: str, classes: int) -> Parameters:
        """Count the parameters of the built network, before and after fusing."""

    @classmethod
    def create(cls, spec: ModelSpec, device: str) -> Self:
        """Build the network with fresh weights."""

    @classmethod
    def load(cls, spec: ModelSpec, weights: Path, device: str) -> Self:
        """Build the network with the weights that `save` wrote.

        Raises:
            InputError: they do not fit.
        """
