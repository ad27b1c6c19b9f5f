"""Train on pytorch-lightning: epochs over slices, an averaged network, scores on val."""

import logging
import math
import os
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from converters.core.errors import ParameterError
from converters.core.files import atomic_file
from detect.detectors.base import Detector, TrainingRun
from detect.detectors.checkpoints import load_network
from detect.detectors.settings import TrainSettings
from detect.training.distributed import is_first, rank, world
from detect.training.loop.plan import Average, Plan, Target
from detect.training.loop.slices import Batch, Batches, Slices, loader
from detect.training.run_state import (
    RunState,
    fitness,
    kept_weights,
    open_checkpoint,
    val_columns,
)
from detect.training.sampler import EpochSlices


class Learner(Detector):
    """A detector that this loop trains."""

    def fit(self, run: TrainingRun) -> Path:
        """Train by this loop."""
        return train_network(self, run)

    @abstractmethod
    def plan(self, settings: TrainSettings, steps: int) -> Plan:
        """Plan a training whose epochs have so many steps."""

    @abstractmethod
    def losses(self, images: torch.Tensor, targets: list[Target]) -> dict[str, torch.Tensor]:
        """Return the weighted losses of a batch, whose sum is trained on.

        Args:
            images: ``(batch, 3, side, side)`` in [0, 1].
            targets: truth of each.
        """


def train_network(learner: Learner, run: TrainingRun) -> Path:
    """Train; `run.weights` gets `best.safetensors`, `last.safetensors` and `resume.pt`.

    Returns:
        The weight file that is kept.

    Raises:
        InputError: nothing to resume, divergence, or not enough memory.
    """
    settings, device = run.settings, learner.device
    epoch_slices = EpochSlices.for_training(run.train, settings)
    batches = Batches(epoch_slices, settings.batch, rank(), world())
    plan = learner.plan(settings, len(batches))
    state = RunState(run, learner, epoch_slices)
    scoring = _Scoring(state, plan, batches)
    if run.resume and _was_finished(state.checkpoint, scoring):
        return kept_weights(run)
    slices = Slices(run.train, learner.spec.imgsz, settings.seed, plan.augmentation)
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
                ckpt_path=state.checkpoint if run.resume else None,
                weights_only=True,  # a checkpoint holds tensors and numbers; nothing may run
            )
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise ParameterError(
                "batch", "does not fit into memory", "use a smaller one"
            ) from error
        except SystemExit as error:  # what it makes of an interrupt
            raise KeyboardInterrupt from error
    return kept_weights(run)


def averaged(network: torch.nn.Module, average: Average) -> AveragedModel:
    """Copy a network, in evaluation mode, to follow it as an exponential moving average."""

    def follow(averages: Any, values: Any, updates: torch.Tensor | int) -> None:
        decay = average.decay * (1 - math.exp(-int(updates) / average.warmup))
        if averages[0].is_floating_point():  # they come sorted by type
            get_ema_multi_avg_fn(decay)(averages, values, updates)  # type: ignore[no-untyped-call]
        else:  # counters, which have no mean
            for counter, value in zip(averages, values, strict=True):
                counter.copy_(value)

    copy = AveragedModel(network, multi_avg_fn=follow, use_buffers=True).eval()
    copy.n_averaged.fill_(1)  # it is an exact copy already: the first update moves it, too
    return copy.requires_grad_(False)


def _devices(device: torch.device) -> int | list[int]:
    """Return what the trainer calls devices: with several processes, only how many."""
    if world() > 1:
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return [device.index or 0] if device.type == "cuda" else 1


def _was_finished(checkpoint: Path, scoring: "_Scoring") -> bool:
    """Read whether the run had come to its end, so that only its scoring is missing."""
    with open_checkpoint(checkpoint) as content:
        return bool(content["callbacks"][scoring.state_key]["run"]["stopped"])


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
            raise ParameterError(
                "lr",
                f"training diverged in epoch {self.current_epoch + 1} (the loss is not finite)",
                "lower it",
            )
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(images))
        return loss


class _Scoring(Callback):
    """Averages the network, scores the average after each epoch, and keeps what is needed."""

    def __init__(self, state: RunState, plan: Plan, batches: Batches) -> None:
        self.state, self.plan, self.batches = state, plan, batches
        self.network = state.detector.network
        self.average = averaged(self.network, plan.average)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average.state_dict(), "run": self.state.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average.load_state_dict(state["average"])
        self.state.load_state_dict(state["run"])
        self.batches.epoch = len(self.state.history)  # loading begins before the epoch does

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.state.start_clock()
        self.average.to(pl_module.device)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.plan.restart and self.state.best > 0:
            best = self.state.run.weights / "best.safetensors"
            for network in (self.network, self.average.module):
                load_network(network, best)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object
    ) -> None:
        self.average.update_parameters(self.network)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        state, epoch, network = self.state, trainer.current_epoch, self.average.module
        if is_first():
            metrics = state.score(network)
            loss = {"train/loss": float(trainer.callback_metrics["loss"])}
            state.record(epoch, network, fitness(metrics), loss | val_columns(metrics))
        state.share()
        trainer.should_stop = trainer.should_stop or state.stopped
        if not state.stopped:
            state.mine(epoch + 1, network)
        if is_first():
            with atomic_file(state.checkpoint) as temporary:
                trainer.save_checkpoint(temporary)
            state.report()
        else:
            trainer.save_checkpoint(state.checkpoint)  # writes nothing here, but the first waits
