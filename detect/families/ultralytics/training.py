"""ultralytics' training loop, with our data, our scoring, our checkpoints, and no side effects."""

import io
import logging
import os
import random
import time
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import Module
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import unwrap_model

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.core.files import replacing
from converters.dataset.split import Split
from detect.detectors.card import ModelSpec
from detect.detectors.checkpoints import save_network
from detect.detectors.protocol import Advance
from detect.detectors.settings import TrainSettings
from detect.evaluation.metrics import evaluate
from detect.families.ultralytics.network import has_one2one
from detect.families.ultralytics.slices import RTDETRSlices, YOLOSlices, seed_augmentation
from detect.families.ultralytics.steps import is_rtdetr
from detect.training.augmentation import GEOMETRY, grey_transforms
from detect.training.distributed import world
from detect.training.history import fitness, note, val_columns, write_history
from detect.training.mining import mine, mining_epochs
from detect.training.sampler import EpochSlices

YOLO_LR, RTDETR_LR = 1e-3, 1e-4  # AdamW from scratch or COCO weights on small data
WEIGHT_DECAY = 5e-4
PREDICT_BATCH = 16
MOSAIC_SHARE = 0.8  # of the epochs; in the last, one at least, it sees slices as they will be


def train_network(
    spec: ModelSpec,
    network: Module,
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
    LOGGER.setLevel(logging.ERROR)
    if world() > 1 and device.type == "cpu":
        raise InputError(
            "--device", f"{spec.model} trains in several processes on GPUs only", "use one process"
        )
    kind = _RTDETRTraining if is_rtdetr(spec.model) else _YOLOTraining
    threads = torch.get_num_threads()
    loop: Any = kind(overrides=_arguments(spec, device, settings, run_dir))
    torch.set_num_threads(threads)  # on a CPU it leaves one core idle: half of two
    slices = EpochSlices.for_training(train, settings)
    loop.prepare(spec, network, train, val, slices, resume, advance)
    if resume and loop.was_finished():
        return
    try:
        loop.train()
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise InputError("--batch", "does not fit into memory", "use a smaller one") from error


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
    """What we change of ultralytics' trainer.

    The subclasses must not have `Trainer` in their names: ultralytics would hang its platform and
    logging services on them.
    """

    data_class: type[Any]

    # What ultralytics' trainers bring along; it ships no types.
    args: Any
    save_dir: Any
    epochs: int
    epoch: int
    start_epoch: int
    device: torch.device
    ema: Any
    optimizer: Any
    scaler: Any
    stopper: Any
    stop: bool
    loss: Any
    fitness: float | None
    best_fitness: float | None
    train_time_start: float
    train_loader: Any
    add_callback: Any
    _close_dataloader_mosaic: Any
    data: dict[str, Any]

    def prepare(
        self,
        spec: ModelSpec,
        network: Module,
        train: Split,
        val: Split,
        slices: EpochSlices,
        resume: bool,
        advance: Advance,
    ) -> None:
        """Hand over everything that its constructor cannot take."""
        self.spec, self.model, self.slices = spec, network, slices
        self.train_split, self.val_split = train, val
        self.data = {
            "splits": {"train": train, "val": val},
            "train": "train",
            "val": "val",
            "nc": len(spec.classes),
            "names": dict(enumerate(spec.classes)),
            "channels": 3,
        }
        self.resume, self.advance = resume, advance
        self.weights_dir = Path(self.save_dir) / "weights"
        self.history: list[dict[str, Any]] = []
        self.seconds_before = 0.0
        self.add_callback("on_train_epoch_start", lambda _: self.mine_negatives())
        self.add_callback("on_train_epoch_start", lambda _: self.seed_epoch())
        (Path(self.save_dir) / "args.yaml").unlink(missing_ok=True)  # it holds absolute paths

    def mine_negatives(self) -> None:
        """Between the stages, look for the slices that the coming epochs shall draw."""
        if self.epoch in mining_epochs(self.slices, self.epochs):
            mine(self.slices, self.train_split, self.epoch, self.find)

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
        made = self.data_class(
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
            made.order = self.slices.of(0)
        return made

    def read_checkpoint(self) -> dict[str, Any]:
        """Read `resume.pt` and give the network its tensors."""
        path = self.weights_dir / "resume.pt"
        try:
            with warnings.catch_warnings(action="ignore"):  # torch warns of pickles that it refuses
                checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(checkpoint["model"])
        except Exception as error:
            raise InputError(
                path, "cannot be resumed from", "start anew with --overwrite"
            ) from error
        return checkpoint

    def was_finished(self) -> bool:
        """Whether the run had stopped by itself, and only what follows the training is missing."""
        return bool(self.read_checkpoint()["stopped"])

    def setup_model(self) -> dict[str, Any] | None:
        return self.read_checkpoint() if self.resume else None

    def resume_training(self, ckpt: dict[str, Any] | None) -> None:
        if ckpt is None:
            return
        self.ema.ema.load_state_dict(ckpt["ema"])
        self.ema.updates = ckpt["updates"]
        self.optimizer.load_state_dict(ckpt["optimizer"])
        self.scaler.load_state_dict(ckpt["scaler"])
        self.best_fitness = ckpt["best_fitness"]
        self.stopper.best_fitness, self.stopper.best_epoch = ckpt["stopper"]
        self.start_epoch = ckpt["epoch"] + 1
        self.resume_balance()
        self.slices.hardest = np.array(ckpt["hardest"], np.int64)
        self.history = ckpt["history"]
        self.seconds_before = self.history[-1]["seconds"]
        for row in self.history:
            self.advance(note(row))

    def resume_balance(self) -> None:
        """Weigh the two branches of YOLOv10 and YOLO26 as they stand after this many epochs."""
        network: Any = unwrap_model(self.model)
        if has_one2one(network.model[-1]):
            network.criterion = network.init_criterion()
            network.criterion.updates = self.start_epoch - 1
            network.criterion.update()

    def validate(self) -> tuple[dict[str, float], float]:
        """Score the averaged network on val with our evaluator; mAP50 says which epoch is best."""
        metrics = evaluate(self.val_split.truth, self.find(self.val_split), self.spec.classes)
        reached = fitness(metrics)
        if self.best_fitness is None or reached > self.best_fitness:
            self.best_fitness = reached
        return val_columns(metrics), reached

    def find(self, split: Split) -> list[Boxes]:
        """Find boxes on the slices of a split with the averaged network."""
        from detect.families.ultralytics.network import predict_boxes

        found = []
        for images in split.batches(PREDICT_BATCH):
            found += predict_boxes(self.ema.ema, self.spec, images, self.device)
        return found

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        seconds = self.seconds_before + time.time() - self.train_time_start
        row = {"epoch": self.epoch + 1, "seconds": round(seconds, 2)}
        row |= {k: float(v) for k, v in metrics.items()}
        self.history.append(row)
        write_history(Path(self.save_dir), self.history)
        self.advance(note(row))

    def save_model(self) -> bool:
        """Write tensors and numbers only: no path, no repository, no code, nothing to unpickle."""
        if self.fitness == self.best_fitness:
            save_network(self.ema.ema, self.weights_dir / "best.safetensors")
        save_network(self.ema.ema, self.weights_dir / "last.safetensors")
        checkpoint = {
            "model": unwrap_model(self.model).state_dict(),
            "ema": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "optimizer": deepcopy(self.optimizer.state_dict()),
            "scaler": self.scaler.state_dict(),
            "best_fitness": self.best_fitness,
            "stopper": (self.stopper.best_fitness, self.stopper.best_epoch),
            "epoch": self.epoch,
            "stopped": bool(self.stop),
            "hardest": self.slices.hardest.tolist(),
            "history": self.history,
        }
        packed = io.BytesIO()  # torch itself reports a full disk as an error of its own kind
        torch.save(checkpoint, packed)
        with replacing(self.weights_dir / "resume.pt") as temporary:
            temporary.write_bytes(packed.getbuffer())
        return True

    def final_eval(self) -> None:
        """Leave scoring to the caller: every family is scored alike."""

    def _handle_nan_recovery(self, epoch: int) -> bool:
        if self.loss is not None and not bool(self.loss.isfinite()):
            raise InputError(
                "--lr",
                f"training diverged in epoch {epoch + 1} (the loss is not finite)",
                "lower it",
            )
        return False


class _YOLOTraining(_Loop, DetectionTrainer):  # type: ignore[misc]
    data_class = YOLOSlices


class _RTDETRTraining(_Loop, RTDETRTrainer):  # type: ignore[misc]
    data_class = RTDETRSlices
