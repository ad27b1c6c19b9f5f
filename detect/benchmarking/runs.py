"""List the trainings of a benchmark and their folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.dataset.folds import Fold

TRAINING = "training.json"  # in a run's bundle: the peak of memory in training
MEASURES = "benchmark.json"  # in a run's bundle: speed, memory and draws of patients
EVALUATION = "evaluation-test"


@dataclass(frozen=True)
class Run:
    """One training of one model.

    Attributes:
        model: a name of `detect models`.
        fold: None without cross-validation.
        seed: of the training.
        name: of its bundle.
    """

    model: str
    fold: Fold | None
    seed: int
    name: str

    def bundle(self, out: Path) -> Path:
        """Return the bundle, in the folder of the benchmark."""
        return out / "runs" / self.name

    def is_trained(self, out: Path) -> bool:
        """Look whether the training is finished."""
        return (self.bundle(out) / "model.json").is_file()

    def is_done(self, out: Path) -> bool:
        """Look whether it is trained, scored and measured: the measures are written last."""
        return (self.bundle(out) / MEASURES).is_file()


def plan(models: Sequence[str], folds: int | None, seeds: int, seed: int) -> list[Run]:
    """List the runs, model by model; folds are the same whatever the seed of the training.

    Args:
        models: names.
        folds: rounds of the cross-validation; None trains on the dataset's own splits.
        seeds: trainings of each model and fold.
        seed: the first one; it deals the folds too.
    """
    rounds = [Fold(number=k + 1, of=folds, seed=seed) for k in range(folds)] if folds else [None]
    return [
        Run(
            model,
            fold,
            number,
            model
            + (f"-fold{fold.number}" if fold else "")
            + (f"-seed{number}" if seeds > 1 else ""),
        )
        for model in models
        for fold in rounds
        for number in range(seed, seed + seeds)
    ]
