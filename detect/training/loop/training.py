"""The loop: epochs over slices, an averaged network, scores on val, checkpoints that resume."""

import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.core.files import atomic_file
from converters.dataset.split import Split
from detect.detectors.card import ModelSpec
from detect.detectors.checkpoints import load_network, save_network
from detect.detectors.protocol import Advance
from detect.detectors.settings import TrainSettings
from detect.evaluation.metrics import evaluate
from detect.training.distributed import is_first, rank, world
from detect.training.history import fitness, note, val_columns, write_history
from detect.training.loop.ema import AveragedNetwork
from detect.training.loop.plan import Learner, Plan
from detect.training.loop.slices import Batch, Batches, Slices, loader
from detect.training.mining import mine, mining_epochs
from detect.training.sampler import EpochSlices

PREDICT_BATCH = 16


def steps_per_epoch(train: Split, settings: TrainSettings) -> int:
    """Count the optimiser's steps in an epoch."""
    return len(_batches(train, settings))


def _batches(train: Split, settings: TrainSettings) -> Batches:
    slices = EpochSlices.for_training(train, settings)
    return Batches(slices, settings.batch, rank(), world())


def train_network(
    learner: Learner,
    plan: Plan,
    spec: ModelSpec,
    device: torch.device,
    train: Split,
    val: Split,
    settings: TrainSettings,
    run_dir: Path,
    resume: bool,
    advance: Advance,
) -> None:
    """Train; `run_dir/weights` gets `best.safetensors`, `last.safetensors` and `resume.pt`.

    Raises:
        InputError: nothing to resume, divergence, or not enough memory.
    """
    batches = _batches(train, settings)
    scoring = _Scoring(learner, plan, spec, (train, val), batches, settings, run_dir, advance)
    checkpoint = run_dir / "weights" / "resume.pt"
    if resume and _was_finished(checkpoint, scoring):
        return
    slices = Slices(train, spec.imgsz, settings.seed, plan.augmentation)
    cuda = device.type == "cuda"
    workers = settings.workers if cuda else 0  # on a CPU the network is the bottleneck
    bf16 = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    with _quiet():
        trainer = pl.Trainer(
            accelerator="cuda" if cuda else "cpu",
            devices=_devices(device),
            strategy="ddp" if world() > 1 else "auto",
            sync_batchnorm=cuda and world() > 1,
            precision="bf16-mixed" if bf16 else "32-true",
            max_epochs=settings.epochs,
            gradient_clip_val=plan.clip,
            deterministic="warn",
            callbacks=[scoring],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(
                _Module(learner, plan, batches, settings.seed),
                loader(slices, batches, workers),
                ckpt_path=checkpoint if resume else None,
                weights_only=True,  # a checkpoint holds tensors and numbers; nothing may run
            )
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise InputError("--batch", "does not fit into memory", "use a smaller one") from error
        except SystemExit as error:  # what it makes of an interrupt
            raise KeyboardInterrupt from error


def _devices(device: torch.device) -> int | list[int]:
    """Return what the trainer calls devices: with several processes, only how many."""
    if world() > 1:
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return [device.index or 0] if device.type == "cuda" else 1


def _was_finished(checkpoint: Path, scoring: "_Scoring") -> bool:
    """Read the state of an interrupted run; whether only what follows the training is missing."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        state = content["callbacks"][scoring.state_key]
        return bool(state["stopped"])
    except Exception as error:
        raise InputError(
            checkpoint, "cannot be resumed from", "start anew with --overwrite"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loop's advice and banners to itself."""
    loggers = [logging.getLogger(f"{name}.utilities.rank_zero") for name in _LOUD]
    loggers += [logging.getLogger(name) for name in _LOUD]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


_LOUD = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric")


class _Module(pl.LightningModule):
    """A learner as the trainer wants it."""

    def __init__(self, learner: Learner, plan: Plan, batches: Batches, seed: int) -> None:
        super().__init__()
        self.network = learner.network
        self.learner, self.plan, self.batches, self.seed = learner, plan, batches, seed

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.plan.groups)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.plan.lr_factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        self.network.train()
        self.batches.epoch = self.current_epoch
        torch.manual_seed(
            self.seed * 100_003 + self.current_epoch
        )  # for noise on denoising queries

    def training_step(self, batch: Batch, number: int) -> torch.Tensor:
        images, targets = batch
        loss = torch.stack(list(self.learner.losses(images, targets).values())).sum()
        if not bool(loss.isfinite()):
            raise InputError(
                "--lr",
                f"training diverged in epoch {self.current_epoch + 1} (the loss is not finite)",
                "lower it",
            )
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(images))
        return loss


class _Scoring(Callback):
    """Averages the network, scores the average after each epoch, and keeps what is needed."""

    def __init__(
        self,
        learner: Learner,
        plan: Plan,
        spec: ModelSpec,
        splits: tuple[Split, Split],
        batches: Batches,
        settings: TrainSettings,
        run_dir: Path,
        advance: Advance,
    ) -> None:
        self.learner, self.plan, self.spec = learner, plan, spec
        (self.train, self.val), self.batches = splits, batches
        self.settings, self.run_dir, self.advance = settings, run_dir, advance
        self.average = AveragedNetwork(learner.network, plan.average)
        self.history: list[dict[str, Any]] = []
        self.best, self.best_epoch = -1.0, 0
        self.seconds = 0.0  # of the parts of the run before this one
        self.stopped = False

    def state_dict(self) -> dict[str, Any]:
        return {
            "average": self.average.network.state_dict(),
            "updates": self.average.updates,
            "hardest": self.batches.slices.hardest.tolist(),
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds + time.monotonic() - self.began,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average.network.load_state_dict(state["average"])
        self.average.updates = state["updates"]
        self.batches.slices.hardest = np.array(state["hardest"], np.int64)
        self.history = state["history"]
        self.batches.epoch = len(self.history)  # loading begins before the epoch does
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.seconds = state["seconds"]
        for row in self.history:
            self.advance(note(row))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began, self.device = time.monotonic(), pl_module.device
        self.average.network.to(pl_module.device)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.plan.restart and self.best > 0:
            best = self.run_dir / "weights" / "best.safetensors"
            for network in (self.learner.network, self.average.network):
                load_network(network, best)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object
    ) -> None:
        self.average.update(self.learner.network)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["loss"])
        if is_first():
            self._score(trainer.current_epoch, loss)
        said: list[Any] = [self.best, self.best_epoch, self.stopped]
        if world() > 1:
            torch.distributed.broadcast_object_list(said)
        self.best, self.best_epoch, self.stopped = said
        trainer.should_stop = trainer.should_stop or self.stopped
        slices, coming = self.batches.slices, trainer.current_epoch + 1
        if not self.stopped and coming in mining_epochs(slices, self.settings.epochs):
            mine(slices, self.train, coming, self._find)
        checkpoint = self.run_dir / "weights" / "resume.pt"
        if is_first():
            with atomic_file(checkpoint) as temporary:
                trainer.save_checkpoint(temporary)
            self.advance(note(self.history[-1]))
        else:
            trainer.save_checkpoint(checkpoint)  # writes nothing here, but the first one waits

    def _find(self, split: Split) -> list[Boxes]:
        """Find boxes on the slices of a split with the averaged network."""
        found = []
        with torch.autocast(self.device.type, enabled=False):
            for images in split.batches(PREDICT_BATCH):
                found += self.learner.predict_with(self.average.network, images)
        return found

    def _score(self, epoch: int, loss: float) -> None:
        network, weights = self.average.network, self.run_dir / "weights"
        metrics = evaluate(self.val.truth, self._find(self.val), self.spec.classes)
        if fitness(metrics) > self.best:
            self.best, self.best_epoch = fitness(metrics), epoch
            save_network(network, weights / "best.safetensors")
        save_network(network, weights / "last.safetensors")
        seconds = round(self.seconds + time.monotonic() - self.began, 2)
        row = {"epoch": epoch + 1, "seconds": seconds, "train/loss": loss}
        self.history.append(row | val_columns(metrics))
        write_history(self.run_dir, self.history)
        waited = epoch - self.best_epoch
        self.stopped = epoch + 1 == self.settings.epochs or 0 < self.settings.patience <= waited
