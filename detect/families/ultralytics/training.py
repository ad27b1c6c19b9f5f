"""Train by ultralytics' loop, with our data, scoring and checkpoints, and without side effects."""

import io
import logging
import os
import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import unwrap_model

from converters.core.errors import ParameterError
from converters.core.files import atomic_file
from detect.detectors.base import Detector, TrainingRun
from detect.detectors.card import ModelSpec
from detect.detectors.settings import TrainSettings
from detect.families.ultralytics.network import has_one2one
from detect.families.ultralytics.slices import RTDETRSlices, YOLOSlices, seed_augmentation
from detect.families.ultralytics.steps import is_rtdetr
from detect.training.augmentation import GEOMETRY, grey_transforms
from detect.training.distributed import world
from detect.training.run_state import (
    RunState,
    fitness,
    kept_weights,
    open_checkpoint,
    val_columns,
)
from detect.training.sampler import EpochSlices

YOLO_LR, RTDETR_LR = 1e-3, 1e-4  # AdamW from scratch or COCO weights on small data
WEIGHT_DECAY = 5e-4
MOSAIC_SHARE = 0.8  # of the epochs; in the last, one at least, it sees slices as they will be


def train_network(detector: Detector, run: TrainingRun) -> Path:
    """Train; `run.weights` gets `best.safetensors`, `last.safetensors` and `resume.pt`.

    Returns:
        The weight file that is kept.

    Raises:
        InputError: nothing to resume, divergence, or not enough memory.
    """
    LOGGER.setLevel(logging.ERROR)
    spec, device = detector.spec, detector.device
    if world() > 1 and device.type == "cpu":
        raise ParameterError(
            "device", f"{spec.model} trains in several processes on GPUs only", "use one process"
        )
    kind = _RTDETRTraining if is_rtdetr(spec.model) else _YOLOTraining
    threads = torch.get_num_threads()
    loop: Any = kind(overrides=_arguments(spec, device, run.settings, run.folder))
    torch.set_num_threads(threads)  # on a CPU it leaves one core idle: half of two
    slices = EpochSlices.for_training(run.train, run.settings)
    loop.prepare(RunState(run, detector, slices, later_ties=True))
    if not (run.resume and loop.was_finished()):
        try:
            loop.train()
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise ParameterError(
                "batch", "does not fit into memory", "use a smaller one"
            ) from error
    return kept_weights(run)


def _arguments(
    spec: ModelSpec, device: torch.device, settings: TrainSettings, run_dir: Path
) -> dict[str, Any]:
    """Translate our settings into ultralytics' arguments."""
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return {
        "model": f"{spec.model}.yaml",
        "data": "data.yaml",
        # a relative one lands in ultralytics' own folder
        "project": str(run_dir.parent.absolute()),
        "name": run_dir.name,
        "exist_ok": True,
        "epochs": settings.epochs,
        "batch": settings.batch,
        "nbs": settings.batch,  # one optimiser step a batch: the batch size means what it says
        "imgsz": spec.imgsz,
        "optimizer": "AdamW",
        "lr0": settings.lr or (RTDETR_LR if is_rtdetr(spec.model) else YOLO_LR),
        "cos_lr": True,
        "momentum": 0.9,
        "weight_decay": WEIGHT_DECAY if settings.weight_decay is None else settings.weight_decay,
        "warmup_epochs": settings.warmup_epochs,
        "warmup_bias_lr": 0.0,  # the default, 0.1, is made for SGD
        "patience": settings.patience,
        "seed": settings.seed,
        "deterministic": True,
        "device": _device_name(device),
        "workers": settings.workers,
        # fp16 would make it fetch a model for its own check; bf16 does not, and does not overflow.
        "amp": "bf16" if bf16 else False,
        "plots": False,
        "verbose": False,
        "pretrained": False,
        "hsv_h": 0.0,
        "hsv_s": 0.0,
        "hsv_v": 0.0,
        "degrees": GEOMETRY.rotation,
        "translate": GEOMETRY.translation,
        "scale": GEOMETRY.scale,
        "fliplr": GEOMETRY.mirror,
        "flipud": 0.0,
        "mosaic": 1.0,  # of four slices, at the size that they have
        "close_mosaic": 0,  # `seed_epoch` ends it
        "augmentations": grey_transforms(),
    }


def _device_name(device: torch.device) -> str:
    """Return a device, or those of all processes, as ultralytics spells them."""
    if device.type == "cpu":
        return "cpu"
    return ",".join(map(str, range(world()))) if world() > 1 else str(device.index)


class _Loop:
    """The changes to ultralytics' trainer.

    The subclasses must not have `Trainer` in their names: ultralytics would hang its platform and
    logging services on them.
    """

    data_class: type[Any]

    # What ultralytics' trainers bring along; it ships no types.
    args: Any
    epochs: int
    epoch: int
    start_epoch: int
    state: RunState
    slices: EpochSlices
    model: Any
    resume: bool
    device: torch.device
    ema: Any
    optimizer: Any
    scaler: Any
    stopper: Any
    loss: Any
    fitness: float
    train_loader: Any
    add_callback: Any
    _close_dataloader_mosaic: Any
    data: dict[str, Any]

    def prepare(self, state: RunState) -> None:
        """Hand over everything that its constructor cannot take."""
        run, classes = state.run, state.detector.spec.classes
        self.state, self.model, self.slices = state, state.detector.network, state.slices
        self.resume = run.resume
        self.data = {
            "splits": {"train": run.train, "val": run.val},
            "train": "train",
            "val": "val",
            "nc": len(classes),
            "names": dict(enumerate(classes)),
            "channels": 3,
        }
        self.add_callback("on_train_start", lambda _: state.start_clock())
        self.add_callback("on_train_epoch_start", lambda _: state.mine(self.epoch, self.ema.ema))
        self.add_callback("on_train_epoch_start", lambda _: self.seed_epoch())
        (run.folder / "args.yaml").unlink(missing_ok=True)  # it holds absolute paths

    def seed_epoch(self) -> None:
        """Begin each epoch's randomness anew, so that a resumed run goes on as if never stopped."""
        seed = int(np.random.SeedSequence([self.args.seed, self.epoch]).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self.train_loader.generator.manual_seed(seed)
        if self.epoch >= min(round(MOSAIC_SHARE * self.epochs), self.epochs - 1):
            self._close_dataloader_mosaic()
        seed_augmentation(self.train_loader.dataset.transforms, seed)
        self.train_loader.dataset.order = self.slices.of(self.epoch)
        self.train_loader.reset()  # the order of the slices was drawn already, and in the workers

    def _setup_ddp(self) -> None:
        """Use the GPU of this process, which `detect.training.distributed` has chosen."""
        self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(self.device)

    def get_dataset(self) -> dict[str, Any]:
        return {}  # `prepare` sets it

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        dataset = self.data_class(
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=mode == "train",
            hyp=self.args,
            rect=False,
            stride=32,
            data=self.data,
        )
        if mode == "train":
            dataset.order = self.slices.of(0)
        return dataset

    def read_checkpoint(self) -> dict[str, Any]:
        """Read `resume.pt` and give the network its tensors."""
        with open_checkpoint(self.state.checkpoint) as checkpoint:
            self.model.load_state_dict(checkpoint["model"])
        return checkpoint

    def was_finished(self) -> bool:
        """Read whether the run had come to its end, so that only its scoring is missing."""
        return bool(self.read_checkpoint()["run"]["stopped"])

    def setup_model(self) -> dict[str, Any] | None:
        return self.read_checkpoint() if self.resume else None

    def resume_training(self, ckpt: dict[str, Any] | None) -> None:
        self.stopper = lambda *_: self.state.stopped
        if ckpt is None:
            return
        self.ema.ema.load_state_dict(ckpt["ema"])
        self.ema.updates = ckpt["updates"]
        self.optimizer.load_state_dict(ckpt["optimizer"])
        self.scaler.load_state_dict(ckpt["scaler"])
        self.start_epoch = ckpt["epoch"] + 1
        self.resume_balance()
        self.state.load_state_dict(ckpt["run"])

    def resume_balance(self) -> None:
        """Weigh the two branches of YOLOv10 and YOLO26 as they stand after this many epochs."""
        network: Any = unwrap_model(self.model)
        if has_one2one(network.model[-1]):
            network.criterion = network.init_criterion()
            network.criterion.updates = self.start_epoch - 1
            network.criterion.update()

    def validate(self) -> tuple[dict[str, float], float]:
        """Score the averaged network on val with our evaluator; mAP50 says which epoch is best."""
        metrics = self.state.score(self.ema.ema)
        return val_columns(metrics), fitness(metrics)

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        columns = {name: float(value) for name, value in metrics.items()}
        self.state.record(self.epoch, self.ema.ema, self.fitness, columns)
        self.state.report()

    def save_model(self) -> bool:
        """Write tensors and numbers only: no path, no repository, no code, nothing to unpickle."""
        checkpoint = {
            "model": unwrap_model(self.model).state_dict(),
            "ema": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "optimizer": deepcopy(self.optimizer.state_dict()),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "run": self.state.state_dict(),
        }
        packed = io.BytesIO()  # torch itself reports a full disk as an error of its own kind
        torch.save(checkpoint, packed)
        with atomic_file(self.state.checkpoint) as temporary:
            temporary.write_bytes(packed.getbuffer())
        return True

    def final_eval(self) -> None:
        """Leave scoring to the caller: every family is scored alike."""

    def _handle_nan_recovery(self, epoch: int) -> bool:
        if self.loss is not None and not bool(self.loss.isfinite()):
            raise ParameterError(
                "lr",
                f"training diverged in epoch {epoch + 1} (the loss is not finite)",
                "lower it",
            )
        return False


class _YOLOTraining(_Loop, DetectionTrainer):  # type: ignore[misc]
    data_class = YOLOSlices


class _RTDETRTraining(_Loop, RTDETRTrainer):  # type: ignore[misc]
    data_class = RTDETRSlices
